"""The page as a page: safe, private, readable in either colours, on small screens, by keyboard and by machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import ChatPage, Watched, background, sideways
from tests.support.router import models_directory
from tests.support.server import Server, running

SHORT = {"max_tokens": "12", "temperature": "0"}

#: What a hostile model would write.
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>\n\n"
    "[click](javascript:alert(3)) <javascript:alert(4)> [x](JaVa\tScript:alert(5)) ![i](data:text/html,<b>)\n\n"
    "```html\n<svg onload=alert(6)>\n```\n\n| <b>a</b> | b |\n|---|---|\n| <i onclick=alert(7)>c</i> | d |\n"
)

#: Markdown of all kinds that the page knows.
RICH = (
    "# Title\n\nSome **bold**, *slanted*, ~~gone~~ and `code` with a [link](https://example.com/a_b).\n\n"
    "1. one\n2. two\n   - inner\n\n- [x] done\n- [ ] open\n\n> said\n\n---\n\n```python\nprint('**not bold**')\n```\n\n"
    "| a | b |\n|:--|--:|\n| 1 | 2 |\n"
)


def gbnf(text: str) -> str:
    """A grammar of one text."""
    return f"root ::= {json.dumps(text)}"


def test_a_models_output_is_text(chat: ChatPage) -> None:
    chat.set(fields={}, grammar=gbnf(HOSTILE))
    chat.page.on("dialog", lambda dialog: (chat.faults.append(dialog.message), dialog.dismiss()))
    for tokens in (False, True):
        chat.set(fields={"max_tokens": "-1"}, grammar=gbnf(HOSTILE), tokensOn=tokens)
        chat.say(HOSTILE)
        assert chat.answer.locator(".error").is_hidden()
        found = chat.answer.inner_text()
        for word in ("<img src=x onerror=alert(1)>", "javascript:alert(3)", "<svg onload=alert(6)>"):
            assert word in found
        forbidden = "img, script, svg, iframe, [onerror], [onclick], [onload], a:not([href^='http']):not(.quiet)"
        assert chat.find(f"#messages :is({forbidden})").count() == 0
    # As a title, in the list, and out of the database.
    chat.page.reload()
    expect(chat.find(".conversation").first).to_contain_text("<img src=x")
    chat.page.wait_for_timeout(100)
    assert all(url.startswith(chat.url) for url in chat.requests)


def test_markdown(chat: ChatPage) -> None:
    chat.set(fields={"max_tokens": "-1"}, grammar=gbnf(RICH))
    chat.say("Show me")
    shown = chat.text
    for selector, text in {
        "h3": "Title", "strong": "bold", "em": "slanted", "del": "gone", "p code": "code", "p a": "link",
        "ol > li > ul > li": "inner", "blockquote": "said", "pre": "print('**not bold**')",
        "th.right": "b", "td.right": "2",
    }.items():  # fmt: skip
        expect(shown.locator(selector)).to_have_text(text)
    assert shown.locator("a").get_attribute("href") == "https://example.com/a_b"
    assert "noopener" in (shown.locator("a").get_attribute("rel") or "")
    assert shown.locator("input[type=checkbox]").evaluate_all("all => all.map(one => one.checked)") == [True, False]
    chat.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    shown.get_by_label("Copy the code").click()
    assert chat.page.evaluate("navigator.clipboard.readText()") == "print('**not bold**')"


def test_nothing_leaves_the_origin(chat: ChatPage) -> None:
    chat.set(fields={"max_tokens": "-1"}, grammar=gbnf("![image](https://example.com/a.png) https://example.com/b"))
    chat.say("Show me")
    assert chat.text.locator("a").count() == 2
    chat.page.goto(chat.url + "dashboard")
    expect(chat.find("#plots figure").first).to_be_visible()
    assert len(chat.requests) > 20
    assert [url for url in chat.requests if not url.startswith(chat.url)] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_until_one_is_chosen(browser: Browser, server: Server, scheme: Any) -> None:
    with browser.new_context(color_scheme=scheme) as context:
        chat = ChatPage(context, server.url + "/").open()
        dark = scheme == "dark"
        assert (background(chat.page) < 64) is dark
        # system, light, dark
        chat.find("#theme").click()
        assert background(chat.page) > 192
        chat.find("#theme").click()
        assert background(chat.page) < 64
        chat.page.reload()
        expect(chat.find("#theme")).to_have_text("Theme: dark")
        assert background(chat.page) < 64
        chat.find("#theme").click()
        assert (background(chat.page) < 64) is dark


def test_small_screens(browser: Browser, server: Server) -> None:
    with browser.new_context(viewport={"width": 320, "height": 600}, has_touch=True) as context:
        chat = ChatPage(context, server.url + "/").open()
        long = "w" * 200
        chat.set(fields={"max_tokens": "-1"}, grammar=gbnf(RICH + f"\n```\n{long}\n```\n{long} | {long}\n"))
        chat.say(long)
        assert sideways(chat.page) == 0
        expect(chat.find("#sidebar")).to_be_hidden()
        chat.find("#open-sidebar").click()
        expect(chat.find("#new")).to_be_in_viewport()
        chat.page.keyboard.press("Escape")
        expect(chat.find("#sidebar")).to_be_hidden()
        expect(chat.find("#open-sidebar")).to_be_focused()
        chat.find("#open-settings").click()
        expect(chat.find("#set-temperature")).to_be_visible()
        assert sideways(chat.page) == 0
        chat.find("#close-settings").click()
        expect(chat.find("#send")).to_be_in_viewport()
        chat.page.goto(chat.url + "dashboard")
        expect(chat.find("#plots figure").first).to_be_visible()
        assert sideways(chat.page) == 0


def test_keys(chat: ChatPage) -> None:
    chat.set(fields=SHORT)
    page = chat.page
    expect(chat.find("#input")).to_be_focused()
    page.keyboard.type("Once upon")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("a time")
    expect(chat.find("#input")).to_have_value("Once upon\na time")
    page.keyboard.press("Enter")
    chat.done()
    page.keyboard.press("Control+k")
    expect(chat.find("article")).to_have_count(0)
    expect(chat.find("#input")).to_be_focused()
    chat.say("Another one")
    page.keyboard.press("Alt+ArrowDown")
    expect(chat.find("#title")).to_have_value("Once upon a time")
    page.keyboard.press("Alt+ArrowUp")
    expect(chat.find("#title")).to_have_value("Another one")
    chat.find(".conversation").first.focus()
    page.keyboard.press("ArrowDown")
    expect(chat.find(".conversation").last).to_be_focused()
    page.keyboard.press("?")
    expect(chat.find("#help-dialog")).to_be_visible()
    expect(chat.find("#help-dialog dt")).to_have_count(12)
    page.keyboard.press("Escape")
    expect(chat.find("#help-dialog")).to_be_hidden()
    page.keyboard.press("/")
    expect(chat.find("#input")).to_be_focused()
    page.keyboard.press("Control+,")
    expect(chat.find("#close-settings")).to_be_focused()
    page.keyboard.press("Escape")
    expect(chat.find("#settings")).to_be_hidden()
    expect(chat.find("#open-settings")).to_be_focused()


def violations(page: Page) -> list[str]:
    """What axe finds that is serious or worse."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes']][:4]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, server: Server, scheme: Any) -> None:
    # axe is put into the page as a script, which the page's own policy would refuse.
    with browser.new_context(color_scheme=scheme, bypass_csp=True, viewport={"width": 1200, "height": 900}) as context:
        chat = ChatPage(context, server.url + "/").open()
        assert violations(chat.page) == []
        chat.set(fields={"max_tokens": "-1"}, grammar=gbnf(RICH))
        chat.say("Show me")
        chat.set(fields={"max_tokens": "12", "temperature": "1.5"}, tokensOn=True)
        chat.say("Once upon a time")
        chat.answer.locator(".token").nth(3).hover()
        assert violations(chat.page) == []
        chat.set(fields={"max_tokens": "12"}, grammar='root ::= "a  " "\\n" "\\n b"', tokensOn=True)
        chat.say("Blanks")
        assert violations(chat.page) == []
        chat.find("#open-settings").click()
        for summary in chat.find("#settings details:not([open]) > summary").all()[::-1]:
            summary.click()
        chat.set(fields={"top_p": "-3"})
        chat.press("Regenerate")
        chat.done()
        chat.find("#open-settings").click()
        assert violations(chat.page) == []
        chat.find("#close-settings").click()
        chat.find("#help").click()
        assert violations(chat.page) == []
        chat.page.goto(chat.url + "dashboard")
        expect(chat.find("#tiles dd").first).to_be_visible()
        assert violations(chat.page) == []


@pytest.fixture(scope="module")
def guarded(browser: Browser) -> Iterator[Server]:
    yield from running("-c", "512", "--api-key", "secret", "--api-prefix", "/deep/er")


def test_a_key_behind_a_prefix(browser: Browser, guarded: Server) -> None:
    with browser.new_context() as context:
        chat = ChatPage(context, guarded.url + "/deep/er")
        chat.page.goto(chat.url)
        assert chat.page.url == chat.url + "/"
        dialog = chat.find("#key-dialog")
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name="Cancel").click()
        expect(chat.find("#notice")).to_have_text("Invalid API Key")
        chat.page.reload()
        for key in ("wrong", "secret"):
            expect(dialog).to_be_visible()
            chat.find("#key").fill(key)
            chat.page.keyboard.press("Enter")
        expect(chat.find("#about")).not_to_be_empty()
        expect(dialog).to_be_hidden()
        chat.set(fields=SHORT)
        assert chat.say("Once upon a time")
        chat.find("#sidebar a[href=dashboard]").click()
        expect(chat.page).to_have_url(chat.url + "/dashboard")
        # This server has no metrics, and the page says how to get them.
        expect(chat.find("#notice")).to_contain_text("This server does not support metrics endpoint")
        expect(chat.find("#notice")).to_contain_text("rustllm-serve --metrics")
        chat.find("#to-chat").click()
        expect(chat.page).to_have_url(chat.url + "/")
        assert chat.faults == []


def test_several_models(browser: Browser, tmp_path: Any) -> None:
    directory = models_directory(tmp_path, "first", "second")
    for server in running("--models-dir", str(directory), "-c", "512", "--metrics", "--offline"):
        with browser.new_context() as context:
            chat = ChatPage(context, server.url + "/")
            chat.page.goto(chat.url)
            select = chat.find("select.model")
            expect(select.locator("option")).to_have_text(["first (unloaded)", "second (unloaded)"])
            select.select_option("second")
            chat.set(fields=SHORT, model="second")
            assert chat.say("Once upon a time")
            assert chat.asked[-1]["model"] == "second"
            expect(select.locator("option")).to_have_text(["first (unloaded)", "second"])
            expect(chat.find("#greeting")).to_have_text("second")
            chat.find("#open-settings").click()
            expect(chat.find("#set-temperature")).to_have_attribute("placeholder", "0.8")
            chat.page.goto(chat.url + "dashboard")
            expect(chat.find("#tiles dd").nth(5)).to_contain_text("MB")
            chat.find("select.model").select_option("first")
            expect(chat.find("#notice")).to_contain_text("first")
            assert {card["status"]["value"] for card in server.get("/models").body["data"]} == {"loaded", "unloaded"}
            assert chat.faults == []


def test_a_server_that_still_loads_is_waited_for(browser: Browser, server: Server) -> None:
    with browser.new_context() as context:
        chat = ChatPage(context, server.url + "/")
        answers = iter([503, 503])

        def props(route: Any) -> None:
            status = next(answers, None)
            if status is None:
                route.continue_()
            else:
                route.fulfill(status=status, body='{"error": {"message": "Loading model", "code": 503}}')

        chat.page.route("**/props", props)
        chat.page.goto(chat.url)
        expect(chat.find("#notice")).to_have_text("Loading model")
        expect(chat.find("#about")).not_to_be_empty()
        expect(chat.find("#notice")).to_be_hidden()


def test_plots_are_of_what_happens(browser: Browser, server: Server) -> None:
    with browser.new_context(viewport={"width": 1300, "height": 900}) as context:
        watched = Watched(context, server.url + "/")
        watched.page.goto(watched.url + "dashboard")
        watched.find("#pace").select_option("1")
        expect(watched.find("figure")).to_have_count(8)
        line = watched.find("figure").first.locator("path.line.s1")
        expect(line).to_have_attribute("d", re.compile("^M"))
        body = {"prompt": "Once upon a time", "n_predict": 1500, "ignore_eos": True, "stream": True}
        with server.client.stream("POST", "/completion", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            expect(watched.find("#tiles dd").nth(2)).to_have_text(re.compile("^[01] of 2$"))
            for _ in lines:
                pass
        generated = watched.find("#tiles dd").first
        expect(generated).not_to_have_text(re.compile("^(–|0.0/s)$"))
        expect(watched.find("#tiles dd").nth(1)).to_contain_text("ms")
        expect(watched.find("#tiles dd").nth(5)).to_contain_text("MB")
        label = watched.find("figure svg").first.get_attribute("aria-label") or ""
        assert re.match(r"Throughput: generated [\d.]+/s, prompt [\d.]+/s", label)
        box = watched.find("figure svg").first.bounding_box()
        assert box is not None
        watched.page.mouse.move(box["x"] + 20, box["y"] + 20)
        expect(watched.find("figure .cursor").first).to_have_attribute("visibility", "visible")
        watched.find("#pause").click()
        asked = len(watched.requests)
        watched.page.wait_for_timeout(1300)
        assert len(watched.requests) <= asked + 1
        assert watched.faults == []
