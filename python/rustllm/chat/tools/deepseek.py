"""DeepSeek: R1 (JSON in a code block), V3.1 (name and JSON), V3.2 and V4 (tags)."""

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.named_body import NamedBody
from rustllm.chat.syntax.tagged_body import TaggedBody
from rustllm.chat.tools.descriptor import ToolFormat

_SECTION = "<｜tool▁calls▁begin｜>"
_END = "<｜tool▁calls▁end｜>"
_CALL = "<｜tool▁call▁begin｜>"
_SEPARATOR = "<｜tool▁sep｜>"
_CLOSE = "<｜tool▁call▁end｜>"

DEEPSEEK_R1 = ToolFormat(
    name="DeepSeek R1",
    signs=((_SECTION, "```json"),),
    answer=PlainAnswer(
        Calls(
            NamedBody(before=f"function{_SEPARATOR}", after="\n```json\n", end="\n```"),
            section=_SECTION,
            call=_CALL,
            close=_CLOSE,
            between="\n",
            end=_END,
        ),
        THINK,
    ),
)

DEEPSEEK_V31 = ToolFormat(
    name="DeepSeek V3.1",
    signs=((_SECTION, _SEPARATOR),),
    answer=PlainAnswer(Calls(NamedBody(after=_SEPARATOR), section=_SECTION, call=_CALL, close=_CLOSE, end=_END), THINK),
)


def _dsml(section: str) -> PlainAnswer:
    mark = "｜DSML｜"
    return PlainAnswer(
        Calls(
            TaggedBody(
                before='invoke name="',
                after='">\n',
                key=f'<{mark}parameter name="',
                equals='" string="true">',
                equals_json='" string="false">',
                close=f"</{mark}parameter>\n",
                end=f"</{mark}invoke>\n",
            ),
            section=f"<{mark}{section}>",
            begin="\n",
            call=f"<{mark}",
            end=f"</{mark}{section}>",
        ),
        THINK,
    )


DEEPSEEK_V32 = ToolFormat(
    name="DeepSeek V3.2", signs=(("｜DSML｜", "function_calls>"),), answer=_dsml("function_calls")
)
DEEPSEEK_V4 = ToolFormat(name="DeepSeek V4", signs=(("｜DSML｜", "tool_calls>"),), answer=_dsml("tool_calls"))
