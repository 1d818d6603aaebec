"""The terminal of `rustllm chat`: a line editor with history, and answers as Markdown while they come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import platformdirs
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rustllm import ChatDelta, Usage

#: Pictures of a growing answer a second.
REFRESHES = 12


class Terminal:
    """Reads messages and shows answers."""

    def __init__(self, greeting: str) -> None:
        folder = platformdirs.user_state_path("rustllm", ensure_exists=True)
        self.console = Console()
        self.session: PromptSession[str] = PromptSession(
            history=FileHistory(str(folder / "chat_history")),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation="… ",
        )
        self.say(greeting)

    def read(self) -> str:
        """The next message. Ctrl-C empties the line. Raises EOFError at its end."""
        while True:
            try:
                return self.session.prompt("> ")
            except KeyboardInterrupt:
                continue

    def say(self, text: str, style: str = "dim") -> None:
        """Shows a line that is not the model's."""
        self.console.print(Text(text, style=style))

    def table(self, rows: Iterable[tuple[str, str]]) -> None:
        """Shows names beside what they mean."""
        table = Table(box=None, show_header=False)
        for name, text in rows:
            table.add_row(Text(name, style="bold"), Text(text))
        self.console.print(table)

    def show(self, parts: Iterator[ChatDelta]) -> None:
        """Shows an answer as it comes. Ctrl-C ends it; what there is stays."""
        said, thought = "", ""
        finish: str | None = None
        pace = Pace()
        with Live(console=self.console, refresh_per_second=REFRESHES, vertical_overflow="visible") as live:
            try:
                for part in parts:
                    said += part.content
                    thought += part.reasoning_content
                    pace.take(part)
                    finish = part.finish_reason or finish
                    live.update(_picture(thought, said))
            except KeyboardInterrupt:
                finish = "stopped"
            finally:
                # The request is aborted now, and not when the iterator is collected.
                close = getattr(parts, "close", None)
                if close is not None:
                    close()
        self.say(f"{pace.rate:.0f} tokens/s" + ("" if finish == "stop" else f", {finish}"))


class Pace:
    """How fast an answer comes once it has begun."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._n_tokens = 0
        self._usage: Usage | None = None

    def take(self, part: ChatDelta) -> None:
        """Counts a part of the answer in."""
        if self._began is None:
            self._began = time.perf_counter()
        else:
            # The first part's tokens came before the clock ran.
            self._n_tokens += len(part.token_ids)
        self._usage = part.usage or self._usage

    @property
    def rate(self) -> float:
        """Tokens a second: by the engine's own clock where the answer is whole."""
        if (usage := self._usage) is not None:
            # The first token comes with the end of the prompt; an answer of one has no other time than the prompt's.
            n, ms = usage.completion_tokens - 1, usage.completion_ms
            return 1e3 * n / max(ms, 1e-3) if n > 0 else 1e3 / max(usage.prompt_ms + ms, 1e-3)
        seconds = 0.0 if self._began is None else time.perf_counter() - self._began
        return self._n_tokens / max(seconds, 1e-9)


def _picture(thought: str, said: str) -> Group:
    return Group(*([Text(thought, style="dim italic")] if thought else []), Markdown(said))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def begin_a_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
