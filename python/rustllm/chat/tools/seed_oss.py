"""Seed-OSS: Qwen3-Coder's calls in tags of its own."""

from rustllm.chat.reasoning import Thought
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.tagged_body import TaggedBody
from rustllm.chat.tools.descriptor import ToolFormat

SEED_OSS = ToolFormat(
    name="Seed-OSS",
    signs=(("<seed:tool_call>",),),
    answer=PlainAnswer(
        Calls(
            TaggedBody(
                before="<function=",
                after=">\n",
                key="<parameter=",
                equals=">",
                close="</parameter>\n",
                end="</function>",
            ),
            call="<seed:tool_call>",
            open="\n",
            close="\n</seed:tool_call>",
            between="\n",
        ),
        Thought("<seed:think>", "</seed:think>"),
    ),
)
