"""Apertus: a JSON list of objects whose single key is the name."""

from rustllm.chat.reasoning import Thought
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import KeyedBody
from rustllm.chat.tools.descriptor import ToolFormat

APERTUS = ToolFormat(
    name="Apertus",
    signs=(("<|tools_prefix|>",),),
    answer=PlainAnswer(
        Calls(KeyedBody(), section="<|tools_prefix|>", begin="[", between=", ", end="]<|tools_suffix|>"),
        Thought("<|inner_prefix|>", "<|inner_suffix|>"),
    ),
)
