"""Qwen3-Coder, Step 3.5 and Nemotron 3: arguments in `<parameter=…>` tags."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.tagged_body import TaggedBody
from rustllm.chat.tools.descriptor import ToolFormat

QWEN3_CODER = ToolFormat(
    name="Qwen3 Coder",
    signs=(("<tool_call>", "<function=", "<parameter="),),
    answer=PlainAnswer(
        Calls(
            TaggedBody(
                before="<function=",
                after=">\n",
                key="<parameter=",
                equals=">\n",
                close="\n</parameter>\n",
                end="</function>",
            ),
            call="<tool_call>",
            open="\n",
            close="\n</tool_call>",
            between="\n",
        ),
        THINK,
    ),
)
