"""Hunyuan 3: GLM's pairs of tags, each with a suffix that the template appends."""

from rustllm.chat.reasoning import HUNYUAN_THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.tagged_body import TaggedBody
from rustllm.chat.tools.descriptor import ToolFormat

HUNYUAN_3 = ToolFormat(
    name="Hunyuan 3",
    signs=(("<tool_calls{}>", "<arg_key{}>", ":opensource"),),
    answer=PlainAnswer(
        Calls(
            TaggedBody(
                after="<tool_sep:opensource>\n",
                key="<arg_key:opensource>",
                equals="</arg_key:opensource>\n<arg_value:opensource>",
                close="</arg_value:opensource>\n",
                end="</tool_call:opensource>\n",
            ),
            section="<tool_calls:opensource>",
            begin="\n",
            call="<tool_call:opensource>",
            end="</tool_calls:opensource>",
        ),
        HUNYUAN_THINK,
    ),
)
