"""Takes the pictures of `docs/img`: the chat page, the dashboard and `rustllm chat`, with a real model.

Usage: make screenshots. Needs Chromium (`make browser`) and the package pyte, which draws the terminal.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pyte
from playwright.sync_api import Browser, expect
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.browser import ChatPage, Watched, running_browser  # noqa: E402 (the path comes first)
from tests.support.server import Server, running  # noqa: E402

MODEL = ROOT / ".models/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf"
IMAGES = ROOT / "docs/img"
SIZE = {"width": 1200, "height": 800}

QUESTION = "Write a Python function that says whether a word is a palindrome, and show how to call it."

#: Seconds that the dashboard watches the server under load.
WATCHED = 60

COLUMNS, ROWS = 100, 30


@contextmanager
def chat(browser: Browser, server: Server, scheme: str) -> Iterator[ChatPage]:
    """The chat page in light or dark."""
    with browser.new_context(viewport=SIZE, color_scheme=scheme) as context:  # type: ignore[arg-type]
        yield ChatPage(context, server.url + "/").open()


def take_page(browser: Browser, server: Server) -> None:
    """A conversation in light, and one in dark with its tokens' probabilities."""
    with chat(browser, server, "light") as page:
        page.set(fields={"temperature": "0", "max_tokens": "100"})
        page.say(QUESTION)
        page.page.screenshot(path=IMAGES / "page.png")
    with chat(browser, server, "dark") as page:
        page.set(fields={"temperature": "0.7", "seed": "5", "max_tokens": "90"}, tokensOn=True)
        page.say("What is a palindrome? Answer in two sentences.")
        page.answer.locator(".token").nth(12).hover()
        page.page.screenshot(path=IMAGES / "page-dark.png")


def take_dashboard(browser: Browser, server: Server) -> None:
    """The dashboard while clients come and go."""
    ends = time.monotonic() + WATCHED

    def ask(number: int) -> None:
        time.sleep(number)
        while time.monotonic() < ends:
            body = {"messages": [{"role": "user", "content": f"{QUESTION} ({number})"}], "max_tokens": 40 + 15 * number}
            server.post("/v1/chat/completions", body)

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for client in clients:
        client.start()
    with browser.new_context(viewport=SIZE) as context:
        page = Watched(context, server.url)
        page.page.goto(server.url + "/dashboard")
        expect(page.find("svg").first).to_be_visible()
        page.find("#span").select_option("2")
        page.page.wait_for_timeout(1000 * (WATCHED - 2))
        page.page.screenshot(path=IMAGES / "dashboard.png")
    for client in clients:
        client.join()


def take_terminal() -> None:
    """`rustllm chat` as a terminal shows it."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "XDG_STATE_HOME": home, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
        command = ["-m", "rustllm", "chat", "-m", str(MODEL), "--temp", "0", "-n", "160", "-c", "4096"]
        child = pexpect.spawn(sys.executable, command, env=environ, encoding="utf-8", dimensions=(ROWS, COLUMNS))

        def follow(words: str) -> None:
            """Draws what comes until the screen shows `words`, and a moment longer."""
            seconds = 60
            while True:
                try:
                    stream.feed(child.read_nonblocking(4096, timeout=seconds))
                except pexpect.TIMEOUT:
                    if seconds == 1:
                        return
                    raise
                if any(words in line for line in screen.display):
                    seconds = 1

        follow("/help lists commands")
        child.send(QUESTION + "\r")
        follow(" tokens/s")
        child.close(force=True)
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115 (ends with the program)
    lines = [drawn(screen, row) for row in range(ROWS)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    for line in lines:
        console.print(line, no_wrap=True)
    console.save_svg(str(IMAGES / "terminal.svg"), title="rustllm chat")


def drawn(screen: pyte.Screen, row: int) -> Text:
    """A row of the screen with its colours."""
    line = Text()
    for column in range(COLUMNS):
        cell = screen.buffer[row][column]
        names = [name for name in ("bold", "italics", "underscore", "reverse") if getattr(cell, name)]
        style = [{"italics": "italic", "underscore": "underline"}.get(name, name) for name in names]
        style += [color(cell.fg)] if cell.fg != "default" else []
        style += [f"on {color(cell.bg)}"] if cell.bg != "default" else []
        line.append(cell.data, " ".join(style) or None)
    line.rstrip()
    return line


def color(name: str) -> str:
    """pyte's name of a colour as rich writes it."""
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}"
    return name.replace("bright", "bright_").replace("brown", "yellow")


def main() -> None:
    """Takes them all."""
    IMAGES.mkdir(exist_ok=True)
    for server in running("-m", str(MODEL), "-c", "8192", "-np", "4", "--metrics", "--alias", "qwen2.5-coder"):
        with running_browser() as browser:
            take_page(browser, server)
            take_dashboard(browser, server)
    take_terminal()


if __name__ == "__main__":
    main()
