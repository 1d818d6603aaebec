"""MiniMax M2: `<invoke>` elements with `<parameter>` elements."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.tagged_body import TaggedBody
from rustllm.chat.tools.descriptor import ToolFormat

MINIMAX_M2 = ToolFormat(
    name="MiniMax M2",
    signs=(("<minimax:tool_call>",),),
    answer=PlainAnswer(
        Calls(
            TaggedBody(
                after='">\n',
                key='<parameter name="',
                equals='">',
                close="</parameter>\n",
                end="</invoke>\n",
            ),
            section="<minimax:tool_call>",
            begin="\n",
            call='<invoke name="',
            end="</minimax:tool_call>",
        ),
        THINK,
    ),
)
