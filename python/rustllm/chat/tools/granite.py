"""Granite 3: a JSON list behind `<|tool_call|>`. Granite 4 writes as Hermes does."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.tools.descriptor import ToolFormat

GRANITE_3 = ToolFormat(
    name="Granite",
    signs=(("<|tool_call|>", "<|start_of_role|>"),),
    answer=PlainAnswer(Calls(JsonBody(), section="<|tool_call|>", begin="[", between=", ", end="]"), THINK),
)
