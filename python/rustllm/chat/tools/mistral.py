"""Mistral's two ways: a JSON list (Nemo), and names with arguments (Small 3.2, Devstral, Magistral)."""

import string

from rustllm.chat.reasoning import Thought
from rustllm.chat.syntax.answer import PlainAnswer
from rustllm.chat.syntax.calls import Calls
from rustllm.chat.syntax.json_body import JsonBody
from rustllm.chat.syntax.named_body import CallId, NamedBody
from rustllm.chat.syntax.turn import random_id
from rustllm.chat.tools.descriptor import ToolFormat

_MARKER = "[TOOL_CALLS]"
_THINK = Thought("[THINK]", "[/THINK]")


def mistral_id() -> str:
    """The templates take ids of nine letters and digits only."""
    return random_id("", 9)


MISTRAL_NEMO = ToolFormat(
    name="Mistral Nemo",
    signs=((_MARKER,),),
    new_id=mistral_id,
    answer=PlainAnswer(
        Calls(JsonBody(last=("id", "[a-zA-Z0-9]{9}")), section=_MARKER, begin="[", between=", ", end="]")
    ),
)

_ID = CallId("[CALL_ID]", string.ascii_letters + string.digits, 9, 9, always=False)

MISTRAL_SMALL = ToolFormat(
    name="Mistral Small",
    signs=((_MARKER, "[ARGS]"),),
    new_id=mistral_id,
    answer=PlainAnswer(Calls(NamedBody(after="[ARGS]", id=_ID), call=_MARKER), _THINK),
)
