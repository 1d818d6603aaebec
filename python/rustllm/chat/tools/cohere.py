"""Command R7B and A: a JSON list of actions."""

from rustllm.chat.reasoning import Thought
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.tools.descriptor import ToolFormat

COMMAND_R7B = ToolFormat(
    name="Command R7B",
    signs=(("<|START_ACTION|>",),),
    answer=PlainAnswer(
        Calls(
            JsonBody(name="tool_name", arguments="parameters", first=("tool_call_id", "[0-9]{1,3}")),
            section="<|START_ACTION|>",
            begin="[\n    ",
            between=",\n    ",
            end="\n]<|END_ACTION|>",
        ),
        Thought("<|START_THINKING|>", "<|END_THINKING|>"),
        fillers=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    ),
)
