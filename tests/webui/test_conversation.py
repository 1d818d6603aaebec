"""Talking on the page: sending, streaming, stopping, versions, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.support.browser import ChatPage
from tests.support.server import Server

SHORT = {"max_tokens": "12", "temperature": "0"}
ENDLESS = {"max_tokens": "-1", "ignore_eos": "yes"}


def test_a_message_is_answered(chat: ChatPage) -> None:
    chat.set(fields=SHORT)
    text = chat.say("Once upon a time")
    assert len(text) > 10
    assert chat.asked[-1]["messages"] == [{"role": "user", "content": "Once upon a time"}]
    assert chat.asked[-1]["stream"] is True
    expect(chat.answer.locator(".stats")).to_contain_text("tokens/s")
    expect(chat.answer.locator(".stats")).to_contain_text("12 tokens")
    expect(chat.find("#title")).to_have_value("Once upon a time")
    expect(chat.find(".conversation")).to_have_text("Once upon a time")
    chat.say("And then?")
    roles = [message["role"] for message in chat.asked[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]


def test_an_answer_comes_bit_by_bit_and_stops(chat: ChatPage, server: Server) -> None:
    chat.set(fields=ENDLESS)
    chat.send("Once upon a time")
    chat.expect_length(40)
    first = chat.answer.inner_text()
    chat.expect_length(len(first) + 40)
    chat.find("#stop").click()
    assert len(chat.done()) > len(first)
    expect(chat.answer.locator(".stats")).to_contain_text("stopped")
    for _ in range(100):
        if not any(slot["is_processing"] for slot in server.get("/slots").body):
            break
        chat.page.wait_for_timeout(20)
    else:
        pytest.fail("the slot is still busy")
    chat.set(fields=SHORT)
    before = chat.answer.locator(".body").inner_text()
    chat.press("Continue")
    assert chat.done().startswith(before[:40])
    assert chat.asked[-1]["messages"][-1]["role"] == "assistant"
    chat.expect_version("2/2")


def test_escape_stops(chat: ChatPage) -> None:
    chat.set(fields=ENDLESS)
    chat.send("Once upon a time")
    expect(chat.find("#stop")).to_be_visible()
    chat.page.keyboard.press("Escape")
    chat.done()
    expect(chat.answer.locator(".stats")).to_contain_text("stopped")
    expect(chat.find("#input")).to_be_focused()


def test_versions_of_an_answer(chat: ChatPage) -> None:
    chat.set(fields={"max_tokens": "16", "temperature": "1.5"})
    first = chat.say("Once upon a time")
    chat.press("Regenerate")
    second = chat.done()
    chat.expect_version("2/2")
    chat.press("Regenerate")
    chat.done()
    chat.expect_version("3/3")
    assert all(asked["messages"] == chat.asked[0]["messages"] for asked in chat.asked)
    chat.answer.get_by_label("Previous version").click()
    chat.expect_version("2/3")
    assert chat.done() == second
    chat.page.keyboard.press("Alt+ArrowLeft")
    chat.expect_version("1/3")
    assert chat.done() == first
    expect(chat.answer.get_by_label("Previous version")).to_be_disabled()
    chat.page.reload()
    chat.expect_version("1/3")


def test_an_edited_message_is_a_branch(chat: ChatPage) -> None:
    chat.set(fields=SHORT)
    chat.say("Once upon a time")
    chat.say("More, please")
    question = chat.find("article.user").first
    question.get_by_role("button", name="Edit").click()
    chat.find(".editor").fill("Long ago")
    chat.page.keyboard.press("Enter")
    chat.done()
    assert chat.asked[-1]["messages"] == [{"role": "user", "content": "Long ago"}]
    expect(question.locator(".branches span")).to_have_text("2/2")
    expect(chat.find("article")).to_have_count(2)
    question.get_by_label("Previous version").click()
    # The whole branch is shown again.
    expect(chat.find("article")).to_have_count(4)
    expect(chat.find("article.user").last).to_contain_text("More, please")
    # Arrow up in an empty field edits the last message, Escape leaves it as it was.
    chat.find("#input").press("ArrowUp")
    expect(chat.find(".editor")).to_have_value("More, please")
    chat.page.keyboard.press("Escape")
    expect(chat.find(".editor")).to_have_count(0)


def test_an_edited_answer_is_kept_as_it_is(chat: ChatPage) -> None:
    chat.set(fields=SHORT)
    chat.say("Once upon a time")
    chat.press("Edit")
    chat.find(".editor").fill("My own **words**")
    chat.find(".edit").get_by_role("button", name="Save").click()
    expect(chat.answer.locator("strong")).to_have_text("words")
    chat.expect_version("2/2")
    assert len(chat.asked) == 1
    chat.say("And then?")
    assert chat.asked[-1]["messages"][1] == {"role": "assistant", "content": "My own **words**"}


def test_conversations_outlive_the_page(chat: ChatPage) -> None:
    chat.set(fields=SHORT)
    text = chat.say("Once upon a time")
    chat.page.reload()
    expect(chat.text).to_be_visible()
    assert chat.done() == text
    chat.find("#new").click()
    expect(chat.find("article")).to_have_count(0)
    chat.say("Another one")
    expect(chat.find(".conversation")).to_have_text(["Another one", "Once upon a time"])
    chat.find(".conversation").last.click()
    expect(chat.find("article").first).to_contain_text("Once upon a time")
    assert chat.done() == text
    chat.find("#title").fill("My story")
    chat.find("#title").press("Enter")
    expect(chat.find(".conversation").last).to_have_text("My story")
    chat.find("#search").fill("another")
    expect(chat.find(".conversation")).to_have_text(["Another one"])
    chat.find("#search").fill("")
    chat.find("#delete").click()
    expect(chat.find(".conversation")).to_have_text(["Another one"])
    chat.find("#toast button").click()
    expect(chat.find(".conversation")).to_have_count(2)
    assert chat.done() == text


def test_a_reload_keeps_what_has_come(chat: ChatPage) -> None:
    chat.set(fields=ENDLESS)
    chat.send("Once upon a time")
    chat.expect_length(200)
    chat.page.reload()
    expect(chat.text).not_to_be_empty()
    expect(chat.answer).to_have_attribute("aria-busy", "false")


def test_export_and_import(chat: ChatPage, browser: Browser, tmp_path: Path) -> None:
    chat.set(fields=SHORT)
    text = chat.say("Once upon a time")
    chat.press("Regenerate")
    chat.done()
    chat.find("#new").click()
    chat.say("Another one")
    with chat.page.expect_download() as download:
        chat.find("#export").click()
    file = tmp_path / "all.json"
    download.value.save_as(file)
    exported = json.loads(file.read_text())
    assert [len(one["messages"]) for one in exported["conversations"]] == [2, 3]
    with browser.new_context() as context:
        other = ChatPage(context, chat.url).open()
        other.find("#file").set_input_files(file)
        expect(other.find(".conversation")).to_have_text(["Another one", "Once upon a time"])
        other.find(".conversation").last.click()
        other.expect_version("2/2")
        other.answer.get_by_label("Previous version").click()
        assert other.done() == text
        assert other.faults == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no JSON", "The file is not JSON."),
        ("{}", "no conversations of this page"),
        ('{"format": "rustllm-conversations", "conversations": [{}]}', "a conversation has no messages"),
        (
            '{"format": "rustllm-conversations", "conversations": [{"messages": {"a": {"role": "robot"}}}]}',
            'the role "robot"',
        ),
        (
            '{"format": "rustllm-conversations", "conversations": [{"messages": '
            '{"a": {"role": "user", "content": "", "parent": "b"}, '
            '"b": {"role": "user", "content": "", "parent": "a"}}}]}',
            "is behind itself",
        ),
    ],
)
def test_files_that_are_none(chat: ChatPage, tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(text)
    chat.find("#file").set_input_files(file)
    expect(chat.find("#toast")).to_contain_text(words)
    expect(chat.find(".conversation")).to_have_count(0)


def test_two_windows_see_the_same(chat: ChatPage) -> None:
    chat.set(fields=SHORT)
    other = ChatPage(chat.page.context, chat.url).open()
    chat.say("Once upon a time")
    expect(other.find(".conversation")).to_have_text("Once upon a time")


def test_errors_are_the_servers_words(chat: ChatPage, server: Server) -> None:
    chat.set(fields={"top_p": "-3"})
    chat.say("Once upon a time")
    body = {"messages": [{"role": "user", "content": "x"}], "top_p": -3}
    expect(chat.answer.locator(".error")).to_have_text(
        server.post("/v1/chat/completions", body).body["error"]["message"]
    )
    chat.set(fields={"top_p": "many"})
    chat.press("Regenerate")
    expect(chat.answer.locator(".error")).to_have_text("Top p: “many” is not a number")
