"""What the settings do: sampling fields, JSON schemas, tokens, tools, thoughts, system prompts."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Browser, expect

from tests.support.browser import ChatPage
from tests.support.server import TEMPLATES, Server, running

SCHEMA = {"type": "object", "properties": {"color": {"enum": ["red", "blue"]}}, "required": ["color"]}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"at": {"enum": ["sky", "sea"]}}, "required": ["at"]},
    },
}

#: What `/props` reports that no request would set.
NOT_SETTINGS = {
    *("n_predict", "stream", "timings_per_token", "n_probs", "post_sampling_probs", "chat_format", "backend_sampling"),
    *("reasoning_format", "reasoning_in_content", "generation_prompt", "grammar_lazy"),
}


def defaults(server: Server) -> dict[str, Any]:
    return dict(server.get("/props").body["default_generation_settings"]["params"])


def test_every_setting_of_the_server_has_a_field(chat: ChatPage, server: Server) -> None:
    chat.find("#open-settings").click()
    wanted = {name for name in defaults(server) if name not in NOT_SETTINGS and not name.startswith("speculative")}
    shown = {
        item.removeprefix("set-")
        for item in chat.find("#settings [id^=set-]").evaluate_all("all => all.map(one => one.id)")
    }
    assert wanted - shown == set()
    assert chat.find("#set-temperature").get_attribute("placeholder") == "0.8"
    assert chat.find("#set-seed").get_attribute("placeholder") == "−1"


def test_what_is_set_is_sent(chat: ChatPage) -> None:
    chat.find("#open-settings").click()
    for name in ("Answer", "Repetition", "Context"):
        chat.find("#settings summary").get_by_text(name, exact=True).click()
    values = {
        "temperature": "0.25", "top_k": "7", "seed": "3", "max_tokens": "5", "repeat_penalty": "1,1",
        "samplers": "top_k; temperature", "stop": "dragon\\n\nknight", "logit_bias": '{"5": -1}',
    }  # fmt: skip
    for name, value in values.items():
        chat.find(f"#set-{name}").fill(value)
    chat.find("#set-ignore_eos").select_option("yes")
    expect(chat.find("#open-settings")).to_have_text("Settings (9)")
    chat.say("Once upon a time")
    sent = {name: chat.asked[-1][name] for name in (*values, "ignore_eos")}
    assert sent == {
        "temperature": 0.25, "top_k": 7, "seed": 3, "max_tokens": 5, "repeat_penalty": 1.1, "ignore_eos": True,
        "samplers": ["top_k", "temperature"], "stop": ["dragon\n", "knight"], "logit_bias": {"5": -1},
    }  # fmt: skip
    assert "min_p" not in chat.asked[-1]
    chat.page.reload()
    chat.find("#open-settings").click()
    expect(chat.find("#set-temperature")).to_have_value("0.25")
    chat.find("#settings").get_by_role("button", name="Reset").click()
    expect(chat.find("#open-settings")).to_have_text("Settings")
    expect(chat.find("#set-temperature")).to_have_value("")


def test_json_of_a_schema(chat: ChatPage) -> None:
    chat.find("#schema-chip").click()
    expect(chat.find("#set-schema")).to_be_focused()
    chat.find("#set-schema").fill("{")
    expect(chat.find("#set-schema-fault")).to_contain_text("Not JSON")
    chat.find("#set-schema").fill(json.dumps(SCHEMA))
    expect(chat.find("#set-schema-fault")).to_be_empty()
    chat.say("A color")
    assert chat.asked[-1]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert json.loads(chat.answer.locator("pre").inner_text())["color"] in ("red", "blue")
    chat.find("#schema-chip").click()
    chat.set(fields={"max_tokens": "3"}, schema=json.dumps(SCHEMA))
    chat.say("Once upon a time")
    assert "response_format" not in chat.asked[-1]


def test_tokens_by_probability(chat: ChatPage) -> None:
    chat.set(fields={"max_tokens": "12", "temperature": "1.2", "seed": "4"}, alternatives=3)
    chat.find("#tokens-chip").click()
    expect(chat.find("#tokens-chip")).to_have_attribute("aria-pressed", "true")
    chat.say("Once upon a time")
    assert (chat.asked[-1]["logprobs"], chat.asked[-1]["top_logprobs"]) == (True, 3)
    tokens = chat.answer.locator(".tokens .token")
    expect(tokens).to_have_count(12)
    text = "".join(tokens.all_inner_texts())
    classes = tokens.evaluate_all("all => all.map(one => one.className)")
    assert len(set(classes)) > 2, "all tokens look alike"
    tokens.nth(4).hover()
    rows = chat.answer.locator(".alternative")
    assert rows.count() in (3, 4)
    numbers = [float(row.removesuffix(" %").removeprefix("< ")) for row in rows.locator(".number").all_inner_texts()]
    assert numbers[:3] == sorted(numbers[:3], reverse=True)
    assert sum(numbers) <= 100.1
    # The answer goes on from another token; what was before it stays.
    other = rows.locator("xpath=self::*[not(@disabled)]").first
    chosen = other.locator(".text").inner_text().replace("␣", " ").replace("↵", "\n")
    other.click()
    chat.done()
    chat.expect_version("2/2")
    begin = "".join(tokens.all_inner_texts()[:4]) + chosen
    assert chat.asked[-1]["messages"][-1] == {"role": "assistant", "content": begin}
    assert "".join(tokens.all_inner_texts()).startswith(begin)
    assert text.startswith(begin.removesuffix(chosen))
    chat.press("Tokens")
    expect(chat.answer.locator(".tokens")).to_be_hidden()
    expect(chat.text).to_contain_text(begin.split()[0])
    chat.page.reload()
    expect(chat.answer.locator(".tokens .token").first).to_be_visible()


def test_tokens_by_keyboard(chat: ChatPage) -> None:
    chat.set(fields={"max_tokens": "6"}, tokensOn=True)
    chat.say("Once upon a time")
    chat.answer.locator(".tokens").focus()
    chat.page.keyboard.press("ArrowRight")
    expect(chat.answer.locator(".token").locator("xpath=self::*[@aria-selected='true']")).to_have_attribute(
        "data-index", "1"
    )
    chat.page.keyboard.press("Enter")
    expect(chat.answer.locator(".alternative:focus")).to_have_count(1)


def test_the_system_prompt(chat: ChatPage) -> None:
    chat.set(fields={"max_tokens": "3"}, system="Be brief.")
    chat.say("Once upon a time")
    assert chat.asked[-1]["messages"][0] == {"role": "system", "content": "Be brief."}
    chat.find("#system-box summary").click()
    chat.find("#system").fill("Be long.")
    chat.say("And then?")
    assert chat.asked[-1]["messages"][0] == {"role": "system", "content": "Be long."}
    chat.page.reload()
    expect(chat.find("#system")).to_have_value("Be long.")


def test_calls_of_tools(chat: ChatPage) -> None:
    chat.set(
        fields={},
        tools=json.dumps([TOOL]),
        extra='{"tool_choice": "required", "parallel_tool_calls": false, "seed": 1}',
    )
    chat.say("Look at the sea")
    call = chat.answer.locator(".call")
    expect(call).to_have_count(1)
    expect(call.locator("p")).to_have_text("Calls look")
    assert json.loads(call.locator("pre").inner_text())["at"] in ("sky", "sea")
    chat.set(fields={"max_tokens": "4"})
    chat.answer.locator(".results textarea").fill("It is blue.")
    chat.press("Send the result")
    chat.done()
    *_, called, result = chat.asked[-1]["messages"]
    assert called["tool_calls"][0]["function"]["name"] == "look"
    assert result == {"role": "tool", "content": "It is blue.", "tool_call_id": called["tool_calls"][0]["id"]}


def test_thoughts_are_folded(browser: Browser) -> None:
    template = TEMPLATES / "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja"
    for server in running("-c", "1024", "-np", "1", "--chat-template-file", str(template)):
        with browser.new_context() as context:
            chat = ChatPage(context, server.url + "/").open()
            chat.set(fields={"max_tokens": "24", "ignore_eos": "yes"}, extra='{"thinking_budget_tokens": 6}')
            chat.say("Once upon a time")
            expect(chat.answer.locator(".thought summary")).to_have_text("Thought")
            expect(chat.answer.locator(".thought .markdown")).to_be_hidden()
            chat.answer.locator(".thought summary").click()
            expect(chat.answer.locator(".thought .markdown")).not_to_be_empty()
            expect(chat.text).not_to_be_empty()
            assert chat.faults == []


def test_what_the_operator_has_set(browser: Browser) -> None:
    config = {
        "temperature": 0.125,
        "systemMessage": "Be kind.",
        "samplers": ["top_k"],
        "ignore_eos": True,
        "max_tokens": 3,
    }
    for server in running("-c", "512", "--ui-config", json.dumps(config)):
        with browser.new_context() as context:
            chat = ChatPage(context, server.url + "/").open()
            chat.say("Once upon a time")
            asked = chat.asked[-1]
            assert asked["messages"][0] == {"role": "system", "content": "Be kind."}
            assert (asked["temperature"], asked["samplers"], asked["ignore_eos"]) == (0.125, ["top_k"], True)
