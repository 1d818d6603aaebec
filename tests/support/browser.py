"""A headless Chromium, and what tests do on the chat page."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

#: Set where the tests must not be skipped for want of a browser.
REQUIRED = "RUSTLLM_BROWSER_REQUIRED"

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW = "there is no Chromium: `make browser` installs it, or says how; RUSTLLM_BROWSER names another one"

#: Sandboxes need rights that containers rarely have.
OPTIONS = ["--no-sandbox", "--disable-dev-shm-usage"]


def program() -> str:
    """The browser's program. Without one the test is skipped, or fails where it is required."""
    found = os.environ.get("RUSTLLM_BROWSER") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is not None:
        return found
    if os.environ.get(REQUIRED):
        pytest.fail(HOW)
    pytest.skip(HOW)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """A browser for a fixture. It must not outlive a module: while it runs, no test can have an event loop."""
    path = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page that notes what it asks for and what goes wrong in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(15_000)
        self.faults: list[str] = []
        self.requests: list[str] = []
        #: The bodies of chat completions.
        self.asked: list[dict[str, Any]] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("request", self._take)

    def _note(self, kind: str, text: str) -> None:
        # The browser itself writes a line for each answer that is an error; the page shows those.
        if kind in ("error", "warning") and not text.startswith("Failed to load resource"):
            self.faults.append(text)

    def _take(self, request: Any) -> None:
        self.requests.append(request.url)
        if request.url.endswith("/chat/completions"):
            self.asked.append(request.post_data_json)

    def find(self, selector: str) -> Locator:
        """What a selector finds."""
        return self.page.locator(selector)


class ChatPage(Watched):
    """The chat page."""

    def open(self, path: str = "") -> ChatPage:
        """Goes to the page and waits until it knows the server."""
        self.page.goto(self.url + path)
        expect(self.find("#open-settings")).to_have_attribute("data-ready", "true")
        return self

    def set(self, **fields: object) -> None:
        """Sets sampling fields, in the settings."""
        self.page.evaluate("values => localStorage.setItem('rustllm.settings', JSON.stringify(values))", fields)
        self.page.reload()
        expect(self.find("#open-settings")).to_have_attribute("data-ready", "true")

    def send(self, text: str) -> None:
        """Sends a message."""
        self.find("#input").fill(text)
        self.page.keyboard.press("Enter")

    def say(self, text: str) -> str:
        """Sends a message and returns the answer's text."""
        self.send(text)
        return self.done()

    def done(self) -> str:
        """Waits until the answer has ended; its text."""
        expect(self.find("#stop")).to_be_hidden(timeout=30_000)
        expect(self.answer).to_have_attribute("aria-busy", "false")
        return self.answer.locator(".body").inner_text()

    @property
    def answer(self) -> Locator:
        """The last answer."""
        return self.find("article.assistant").last

    @property
    def text(self) -> Locator:
        """The text of the last answer."""
        return self.answer.locator(".body > .markdown")

    def expect_length(self, length: int) -> None:
        """Waits until the last answer has so many characters."""
        expect(self.text).to_have_text(re.compile(f".{{{length}}}", re.DOTALL), timeout=20_000)

    def press(self, name: str) -> None:
        """Presses a button of the last answer."""
        self.answer.get_by_role("button", name=name, exact=True).click()

    def expect_version(self, text: str) -> None:
        """Checks which of how many versions of the last answer is shown, such as 2/3."""
        expect(self.answer.locator(".branches span")).to_have_text(text)


def sideways(page: Page) -> int:
    """Pixels that a page is wider than the screen."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def background(page: Page) -> int:
    """The lightness of the page's background, from 0 to 255."""
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return int(re.findall(r"\d+", color)[0])
