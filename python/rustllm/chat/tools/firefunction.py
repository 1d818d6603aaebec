"""FireFunction v2: a JSON list behind ` functools`."""

from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.tools.descriptor import ToolFormat

FIREFUNCTION_V2 = ToolFormat(
    name="FireFunction v2",
    signs=((" functools[",),),
    answer=PlainAnswer(Calls(JsonBody(), section=" functools", begin="[", between=", ", end="]")),
)
