"""LFM2 and 2.5: a list of calls in Python's syntax."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.python_body import PythonBody
from rustllm.chat.tools.descriptor import ToolFormat

LFM2 = ToolFormat(
    name="LFM2 with JSON tools",
    signs=(("<|tool_call_start|>",), ("<|tool_list_start|>",)),
    answer=PlainAnswer(
        Calls(PythonBody(), section="<|tool_call_start|>", begin="[", between=", ", end="]<|tool_call_end|>"), THINK
    ),
)
