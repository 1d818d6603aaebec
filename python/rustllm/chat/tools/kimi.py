"""Kimi K2: ids that hold the name, then JSON."""

import string

from rustllm.chat.reasoning import THINK
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.named_body import CallId, NamedBody
from rustllm.chat.tools.descriptor import ToolFormat

KIMI_K2 = ToolFormat(
    name="Kimi K2",
    signs=(("<|tool_call_argument_begin|>",),),
    answer=PlainAnswer(
        Calls(
            NamedBody(
                before="functions.",
                id=CallId(":", string.digits, 1, 4, form="functions.{name}:{text}"),
                after="<|tool_call_argument_begin|>",
            ),
            section="<|tool_calls_section_begin|>",
            call="<|tool_call_begin|>",
            close="<|tool_call_end|>",
            end="<|tool_calls_section_end|>",
        ),
        THINK,
    ),
)
