"""GLM 4.5 to 4.7, Laguna and Ling: arguments as pairs of tags."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.tagged_body import TaggedBody
from rustllm.chat.tools.descriptor import ToolFormat


def _answer(*, lines: bool) -> PlainAnswer:
    """With line breaks between the parts or without."""
    line = "\n" if lines else ""
    body = TaggedBody(
        after=line,
        key="<arg_key>",
        equals=f"</arg_key>{line}<arg_value>",
        close=f"</arg_value>{line}",
        end="</tool_call>",
    )
    return PlainAnswer(Calls(body, call="<tool_call>", between=line), THINK)


GLM_47 = ToolFormat(
    name="GLM 4.7",
    signs=(("<arg_key>", "<tool_call>", "</arg_key><arg_value>"),),
    answer=_answer(lines=False),
)
GLM_45 = ToolFormat(name="GLM 4.5", signs=(("<arg_key>", "<tool_call>"),), answer=_answer(lines=True))
