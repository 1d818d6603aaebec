"""Hermes, Qwen 2.5 and 3, Granite 4, MiMo and many more: JSON in `<tool_call>` tags."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.tools.descriptor import ToolFormat

CALLS = Calls(JsonBody(), call="<tool_call>", open="\n", close="\n</tool_call>", between="\n")

HERMES = ToolFormat(
    name="Hermes 2 Pro",
    signs=(("<tool_call>",),),
    answer=PlainAnswer(CALLS, THINK),
)
