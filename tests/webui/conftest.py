"""One browser and one server with the embedded model for each module; each test has a browser's window of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import ChatPage, running_browser
from tests.support.server import Server, running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(browser: Browser) -> Iterator[Server]:
    yield from running("-c", "4096", "-np", "2", "--metrics", "--alias", "story")


@pytest.fixture
def chat(browser: Browser, server: Server) -> Iterator[ChatPage]:
    """The chat page; whatever went wrong in it fails the test."""
    with browser.new_context(viewport={"width": 1200, "height": 800}) as context:
        chat = ChatPage(context, server.url + "/").open()
        yield chat
        assert chat.faults == []
