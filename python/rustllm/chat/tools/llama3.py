"""Llama 3.1 to 3.3: a JSON object and nothing else, at times behind `<|python_tag|>`."""

from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.tools.descriptor import ToolFormat

LLAMA3 = ToolFormat(
    name="Llama 3.x",
    signs=(("<|start_header_id|>ipython<|end_header_id|>",), ("<|start_header_id|>", '"parameters": ')),
    answer=PlainAnswer(Calls(JsonBody(arguments="parameters"), also=("<|python_tag|>",))),
)
