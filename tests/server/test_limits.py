"""What is too much: refused by a stated cap, or bounded in work and memory; the next request is served."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rustllm._rustllm import Engine
from tests.support.server import ROOT, Answer, Server, as_messages, assert_error, running

GOOD = {"prompt": "Once upon a time", "n_predict": 8, "temperature": 0}
STORIES = ROOT / "python/rustllm/models/stories260K.gguf"
SMOLLM2 = ROOT / ".models/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The embedded model: a SentencePiece vocabulary."""
    yield from running("-c", "512", "-np", "2")


@pytest.fixture(scope="module")
def bpe_server() -> Iterator[Server]:
    """A byte-pair vocabulary."""
    yield from running("-m", str(SMOLLM2), "-c", "4096", "-np", "1")


def refusal(server: Server, body: bytes, path: str = "/completion") -> dict[str, Any]:
    """The error of a request that must be refused within a second, after which a good one is served."""
    started = time.monotonic()
    answer = server.post(path, content=body, headers={"content-type": "application/json"})
    assert time.monotonic() - started < 1.0
    error = assert_error(answer)
    served(server)
    return error


def served(server: Server) -> Answer:
    answer = server.post("/completion", GOOD)
    assert answer.status == 200
    assert answer.body["content"]
    return answer


LETTERS = "abcdefghijklmnopqrstuvwxyz"
LONG_TEXTS = {
    "one letter": "a" * 10_000_000,
    "letters without spaces": "".join(LETTERS[i * i % 26] + LETTERS[i * 7 % 25] for i in range(5_000_000)),
    "spaces": " " * 10_000_000,
    "ideographs": "日本語" * 1_111_111,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
@pytest.mark.parametrize("vocabulary", ["server", "bpe_server"])
def test_ten_megabytes_are_refused_with_both_counts(request: pytest.FixtureRequest, vocabulary: str, text: str) -> None:
    server: Server = request.getfixturevalue(vocabulary)
    body = json.dumps({"prompt": text, "n_predict": 2}, ensure_ascii=False).encode()
    error = refusal(server, body)
    n_ctx = server.get("/props").body["default_generation_settings"]["n_ctx"]
    assert error["type"] == "exceed_context_size_error"
    assert error["n_ctx"] == n_ctx < error["n_prompt_tokens"] <= len(text.encode())
    assert f"at least {error['n_prompt_tokens']} tokens, the context {n_ctx}" in error["message"]


def test_shorter_texts_are_counted_to_the_end(server: Server) -> None:
    tokens = server.post("/tokenize", {"content": "a" * 900_000, "add_special": True}).body["tokens"]
    error = refusal(server, json.dumps({"prompt": "a" * 900_000}).encode())
    assert error["n_prompt_tokens"] == len(tokens)
    assert "at least" not in error["message"]


def test_a_chat_of_ten_megabytes_is_refused(server: Server) -> None:
    body = json.dumps({"messages": as_messages("a" * 10_000_000)}).encode()
    assert refusal(server, body, "/v1/chat/completions")["type"] == "exceed_context_size_error"


def test_tools_are_capped(server: Server) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    body = json.dumps({"messages": as_messages("hi"), "tools": [tool] * 100_000}).encode()
    error = refusal(server, body, "/v1/chat/completions")
    assert error["param"] == "tools"
    assert "1024" in error["message"]


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "string", "minLength": 5, "maxLength": 2}, "the root"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "the root"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "the root"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "/properties/a"),
        (
            {
                "type": "object",
                "properties": {"list": {"type": "array", "items": {"type": "integer", "minimum": 2, "maximum": 1},
                                        "minItems": 1}, "b": {"type": "string"}},
                "required": ["b", "list"],
            },
            "/properties/list/items",
        ),
        (
            {
                "$defs": {"no": {"type": "string", "minLength": 3, "maxLength": 1}},
                "type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}, "required": ["a"],
            },
            "/$defs/no",
        ),
    ],
)  # fmt: skip
def test_schemas_that_nothing_satisfies_are_refused_with_the_place(server: Server, schema: Any, place: str) -> None:
    error = refusal(server, json.dumps({**GOOD, "json_schema": schema}).encode())
    assert error["param"] == "json_schema"
    assert f"at {place}: nothing satisfies" in error["message"]


def test_alternations_of_a_hundred_thousand(server: Server) -> None:
    for n, place in (
        (100_000, "it has 688919 bytes; allowed: up to 262144 (--max-schema-bytes)"),
        (20_000, "at /pattern: "),
    ):
        schema = {"type": "string", "pattern": "|".join(f"a{i}" for i in range(n))}
        error = refusal(server, json.dumps({**GOOD, "json_schema": schema}).encode())
        assert place in error["message"]
        assert "allowed" in error["message"]
    # In GBNF they are nothing unusual but for their number.
    grammar = "root ::= " + " | ".join(f'"a{i}"' for i in range(100_000))
    error = refusal(server, json.dumps({**GOOD, "grammar": grammar}).encode())
    assert "allowed" in error["message"]
    started = time.monotonic()
    few = {**GOOD, "grammar": "root ::= " + " | ".join(f'"a{i}"' for i in range(10_000))}
    answer = server.post("/completion", few)
    assert time.monotonic() - started < 1.0
    assert answer.status == 400 or re.match(r"a\d+$", answer.body["content"])


@pytest.mark.parametrize(
    ("grammar", "place", "message"),
    [
        ("root ::= " + "(" * 60_000, (1, 210), "nested too deep"),
        ('root ::= "a" (\n  root2)\nroot2 ::= root2 "x" | "y"', (2, 3), "left-recursive"),
        ('root ::= a\na ::= b? a "x"\nb ::= "b"', (1, 10), "left-recursive"),
        ('a ::= "x"\n', (1, 1), 'no rule "root"'),
        ('root ::= "a"\n  missing', (2, 10), '"::=" after the rule name'),
        ('root ::= "a" |\n  missing', (2, 3), "not defined"),
        ('root ::= "a"{3,2}', (1, 13), "ends below its start"),
        ('root ::= "a"{1,1000000000}', (1, 16), "1000000000 repetitions are too many; allowed: 10000"),
        ('root ::= x\nx ::= "abc', (2, 7), "no closing"),
        ("root ::= [abc", (1, 10), "no closing"),
    ],
)  # fmt: skip
def test_errors_of_grammars_name_line_and_column(
    server: Server, grammar: str, place: tuple[int, int], message: str
) -> None:
    error = refusal(server, json.dumps({**GOOD, "grammar": grammar}).encode())
    assert error["param"] == "grammar"
    found = re.search(r"line (\d+), column (\d+): (.*)", error["message"])
    assert found, error["message"]
    assert (int(found[1]), int(found[2])) == place
    assert message in found[3]


def test_grammars_that_are_too_long_say_where_the_rest_begins(server: Server) -> None:
    for grammar in (" " * (2 << 20), 'root ::= "a"' + "\nx ::= " * 300_000):
        error = refusal(server, json.dumps({**GOOD, "grammar": grammar}).encode())
        assert re.search(r"line \d+, column \d+: .*allowed: (up to )?\d+", error["message"]), error["message"]


@pytest.mark.parametrize(
    "grammar",
    [
        'root ::= ("a" | "a" | a)*\na ::= "a"? "a"? "a"? "a"? "a"? "a"? "a"?',
        'root ::= "a" root root | "a" | "aa"',
        'root ::= (("a"*)*)*',
        'root ::= ((("a"{10000}){10000}){10000}){10000}',
    ],
)
def test_ambiguous_grammars_are_bounded_work(server: Server, grammar: str) -> None:
    started = time.monotonic()
    answer = server.post("/completion", {**GOOD, "n_predict": 60, "grammar": grammar})
    assert time.monotonic() - started < 1.0
    assert answer.status == 200
    assert set(answer.body["content"]) <= {"a"}
    served(server)


def resident(pid: int | str) -> int:
    """Bytes of memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) << 10


def schema(i: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"name{i}": {"type": "string"}, "n": {"enum": [i, "x"]}}}


def test_new_schemas_in_each_request_leave_no_memory_behind(server: Server) -> None:
    def send(numbers: range) -> int:
        for i in numbers:
            body = {"prompt": "x", "n_predict": 1, "json_schema": schema(i)}
            assert server.post("/completion", body).status == 200
        return resident(server.process.pid)

    before = send(range(300))
    after = send(range(300, 1200))
    assert after - before < 32 << 20
    served(server)


def test_ten_thousand_schemas_leave_no_memory_behind() -> None:
    engine = Engine.load(STORIES, n_ctx=512)

    def compile_all(numbers: range) -> int:
        for i in numbers:
            engine.compile_grammar("json_schema", json.dumps(schema(i)), param="json_schema")
        return resident("self")

    before = compile_all(range(1000))
    after = compile_all(range(1000, 10_000))
    assert after - before < 32 << 20
