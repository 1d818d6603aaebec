"""GigaChat 3: a JSON object behind `<|function_call|>`."""

from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.tools.descriptor import ToolFormat

GIGACHAT_3 = ToolFormat(
    name="GigaChat 3",
    signs=(("<|function_call|>", "<|message_sep|>"),),
    answer=PlainAnswer(Calls(JsonBody(), call="<|function_call|>")),
)
