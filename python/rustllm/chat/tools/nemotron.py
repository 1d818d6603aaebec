"""Nemotron Nano v2: a JSON list in `<TOOLCALL>` tags."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.tools.descriptor import ToolFormat

NEMOTRON_V2 = ToolFormat(
    name="Nemotron v2",
    signs=(("<TOOLCALL>",),),
    answer=PlainAnswer(Calls(JsonBody(), section="<TOOLCALL>", begin="[", between=", ", end="]</TOOLCALL>"), THINK),
)
