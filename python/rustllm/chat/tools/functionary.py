"""Functionary 3.1 (`<function=…>`) and 3.2 (`>>>` and a recipient)."""

from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.named_body import NamedBody
from rustllm.chat.tools.descriptor import ToolFormat

FUNCTIONARY_V31 = ToolFormat(
    name="Functionary v3.1 Llama 3.1",
    signs=(("<function=", "<|start_header_id|>"), ("<function=", "</function>", "<|python_tag|>")),
    lacks=("<parameter=",),
    answer=PlainAnswer(Calls(NamedBody(after=">"), call="<function=", close="</function>")),
)

FUNCTIONARY_V32 = ToolFormat(
    name="Functionary v3.2",
    signs=((">>>${recipient}",), (">>>all",)),
    answer=PlainAnswer(Calls(NamedBody(after="\n"), call=">>>"), to_user="all\n"),
)
