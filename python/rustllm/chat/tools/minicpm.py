"""MiniCPM 5: `<function>` elements with `<param>` elements, whose texts may be CDATA."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.tagged_body import TaggedBody
from rustllm.chat.tools.descriptor import ToolFormat

MINICPM_5 = ToolFormat(
    name="MiniCPM 5",
    signs=(('<function name="', '<param name="', "<![CDATA["),),
    answer=PlainAnswer(
        Calls(
            TaggedBody(
                after='">',
                key='<param name="',
                equals='">',
                close="</param>",
                end="</function>",
                wrap=("<![CDATA[", "]]>"),
            ),
            call='<function name="',
            between="\n",
        ),
        THINK,
    ),
)
