"""Events of streams."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from rustllm.server.sse import TextEvents


@given(st.text(), st.text())
def test_an_event_written_in_parts_is_the_event_written_whole(text: str, model: str) -> None:
    event = {"choices": [{"index": 0, "delta": {"content": "\0text"}}], "model": model}
    written = TextEvents(event).event(text)
    assert written.startswith(b"data: ")
    assert written.endswith(b"\n\n")
    assert json.loads(written[6:]) == {"choices": [{"index": 0, "delta": {"content": text}}], "model": model}
    assert written.count(b"\n") == 2
