"""The limits of a server: one table, whose rows give a flag, an entry of `/props` and the words of a refusal.

`TABLE` has the rows, `Limits` the values of one server. `Limits.check` counts the fields of a request's body
by the rows that its schema names (`Caps`), before anything else is done with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rustllm import measures
from rustllm.invalid import invalid

#: Which rows bound which field: names by the field's place, such as `options.stop` or `tools[].function.parameters`.
#: The place of a body that is itself a list is the empty text.
Caps = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Limit:
    """A row: what may be set, and how a field is counted that it bounds."""

    #: Its name in `/props`.
    name: str
    #: Spellings of the flag, the one shown in messages last.
    flag: str
    default: int
    #: What the flag takes; the upper end is what the engine or a library can bear.
    low: int
    high: int
    help: str
    #: What is counted, for messages: `it has 70 stop strings`. Without it the field is itself the number.
    unit: str = ""
    #: The count of a field's value; None where that is of another type, which others refuse.
    measure: Callable[[Any, int], int | None] | None = None
    #: Where in a text the rest begins that is too much, for messages.
    place: Callable[[Any, int], str] | None = None
    #: llama-server's environment variable; ours is made of the flag.
    env: str = ""
    metavar: str = "N"

    @property
    def shown(self) -> str:
        """The flag as messages name it."""
        return self.flag.rpartition(" ")[2]

    @property
    def variable(self) -> str:
        """The environment variable."""
        return self.env or "RUSTLLM_" + self.shown.lstrip("-").replace("-", "_").upper()


TABLE = (
    Limit("body_bytes", "--max-body-bytes", 32 << 20, 1024, 1 << 40,
          "Largest body of a request; a larger one gets status 413."),
    Limit("all_bodies_bytes", "--max-all-bodies-bytes", 512 << 20, 1 << 20, 1 << 50,
          "Bytes of all bodies together that are held from their arrival until their requests are answered, beside the "
          "first 256 KiB of each; more get status 503."),
    Limit("header_bytes", "--max-header-bytes", 64 << 10, 1024, 1 << 20,
          "Most bytes of a request line with its headers; more get status 431."),
    Limit("header_seconds", "--header-timeout", 60, 1, 3600,
          "Seconds within which a request's headers must arrive, and a new connection its first one.",
          metavar="SECONDS"),
    Limit("body_seconds", "-to, --timeout", 3600, 1, 2**31 - 1,
          "Seconds that a request's body may take to arrive, and that a client may leave its answer unread. Headers "
          "have no longer either.", env="LLAMA_ARG_TIMEOUT"),
    Limit("request_seconds", "--max-request-seconds", 3600, 0, 2**31 - 1,
          "Seconds that an answer may take, from when it is queued to its end; 0 sets no limit.", metavar="SECONDS"),
    Limit("connections", "--max-connections", 1024, 1, 1_000_000,
          "Connections that are open at once; one more gets status 503."),
    Limit("queue", "--max-queue", 512, 0, 1_000_000,
          "Requests that may wait for a slot; one more gets status 429."),
    Limit("json_depth", "--max-json-depth", 128, 1, 250,
          "Levels of objects and arrays in a body."),
    Limit("json_brackets", "--max-json-brackets", 600_000, 1, 100_000_000,
          "Brackets that open in a body, those in its texts among them. Ten million empty arrays would stall every "
          "stream for seconds."),
    Limit("json_commas", "--max-json-commas", 4_000_000, 0, 1_000_000_000,
          "Commas of a body, those in its texts among them."),
    Limit("prompts", "--max-prompts", 64, 1, 65_536,
          "Prompts of one completion request.", "prompts", measures.prompts),
    Limit("messages", "--max-messages", 16_384, 1, 1 << 20,
          "Messages of a chat, items of a response's input.", "messages", measures.entries),
    Limit("token_ids", "--max-token-ids", 1 << 20, 1, 1 << 26,
          "Token ids of a prompt or a text that is given as a list, texts among them; tokens that /tokenize returns "
          "with their texts.", "token ids", measures.token_ids),
    Limit("tokenize_bytes", "--max-tokenize-bytes", 8 << 20, 1, 1 << 30,
          "Bytes of a text for /tokenize, which takes up to 15 times as many for its tokens.", "bytes",
          measures.all_text_bytes),
    Limit("list_entries", "--max-list", 65_536, 1, 1 << 26,
          "Entries of any other list in a request, such as stop tokens, or texts to choose from.", "entries",
          measures.entries),
    Limit("inputs", "--max-inputs", 2048, 1, 1 << 20,
          "Texts of one request for embeddings, documents of one for ranks.", "texts", measures.texts),
    Limit("choices", "--max-choices", 128, 1, 128,
          "Answers to one prompt (n).", measure=measures.number),
    Limit("stop_strings", "--max-stop", 64, 0, 64,
          "Stop strings of a request.", "stop strings", measures.entries),
    Limit("biases", "--max-biases", 4096, 0, 65_536,
          "Entries of a request's logit_bias.", "entries", measures.entries),
    Limit("logprobs", "--max-logprobs", 1024, 0, 1024,
          "Most probable tokens that are reported at each place.", measure=measures.number),
    Limit("answer_logprobs", "--max-answer-logprobs", 4_000_000, 1, 1_000_000_000,
          "Log probabilities of an answer that is kept until it is whole: prompts x n x tokens x n_probs, "
          "where the tokens are those that the request or the context allows.", "log probabilities"),
    Limit("tools", "--max-tools", 1024, 0, 1024,
          "Tools of a request.", "tools", measures.entries),
    Limit("schema_bytes", "--max-schema-bytes", 1 << 18, 2, 1 << 18,
          "Bytes of a JSON schema, those of tools among them.", "bytes", measures.schema_bytes),
    Limit("schema_depth", "--max-schema-depth", 128, 1, 250,
          "Levels of objects and arrays in a JSON schema.", "levels", measures.schema_depth),
    Limit("grammar_bytes", "--max-grammar-bytes", 1 << 20, 1, 1 << 20,
          "Bytes of a grammar.", "bytes", measures.text_bytes, measures.place_of_byte),
    Limit("mask_ms", "--max-mask-ms", 100, 1, 1000,
          "Milliseconds of work, at a usual core's speed, that a grammar or a schema may take for one token."),
    Limit("grammar_depth", "--max-grammar-depth", 200, 1, 200,
          "Levels of brackets in a grammar.", "levels", measures.grammar_depth, measures.place_of_bracket),
)  # fmt: skip

_BY_NAME = {row.name: row for row in TABLE}

#: The rows as schemas name them. Where a list of numbers is no text as token ids, all of its entries count.
_COUNTED = {**_BY_NAME, "documents": replace(_BY_NAME["inputs"], measure=measures.entries)}

#: What bounds a list that has no row of its own.
LIST = ("list_entries",)

#: What bounds a schema, and a grammar.
SCHEMA = ("schema_bytes", "schema_depth")
GRAMMAR = ("grammar_bytes", "grammar_depth")


@dataclass(frozen=True)
class Limits:
    """The values of one server."""

    #: By name; what is not there has its default.
    given: Mapping[str, int] = field(default_factory=dict)

    def __getitem__(self, name: str) -> int:
        return self.given.get(name, _BY_NAME[name].default)

    def as_dict(self) -> dict[str, int]:
        """All values by name."""
        return {row.name: self[row.name] for row in TABLE}

    def allowed(self, name: str, unit: str = "") -> str:
        """What messages say is allowed: the number, of what, and who sets it."""
        return f"{self[name]} {unit}".rstrip() + f" ({_BY_NAME[name].shown})"

    def check(self, body: Any, caps: Caps) -> None:
        """Counts the fields of a body. Raises InvalidRequestError that names the field and the flag."""
        for path, names in caps.items():
            for place, value in _at(body, path):
                for name in names:
                    self._check(_COUNTED[name], place, value)

    def check_count(self, name: str, param: str, count: int, what: str) -> None:
        """Refuses what no single field asks for: `what` says which of them together do."""
        if count > self[name]:
            unit = _BY_NAME[name].unit
            raise invalid(param, f"{what} are {count} {unit}; allowed: up to {self.allowed(name)}")

    def _check(self, row: Limit, param: str, value: Any) -> None:
        assert row.measure is not None, "only rows that count fields are named by schemas"
        most = self[row.name]
        count = row.measure(value, most)
        if count is None or count <= most:
            return
        if not row.unit:
            raise invalid(param, f"{count} is out of range; allowed: {row.low} to {self.allowed(row.name)}")
        where = "" if row.place is None else row.place(value, most)
        raise invalid(param, f"{where}it has {count} {row.unit}; allowed: up to {self.allowed(row.name)}")


def _at(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What is at a path, with the place of each; without a path, the body itself."""
    found: list[tuple[str, Any]] = [("" if path else "body", value)]
    for step in path.split(".") if path else ():
        name = step.removesuffix("[]")
        found = [
            (f"{place}.{name}".lstrip("."), one[name])
            for place, one in found
            if isinstance(one, dict) and one.get(name) is not None
        ]
        if step != name:
            lists = ((place, one) for place, one in found if isinstance(one, list))
            found = [(f"{place}[{index}]", item) for place, one in lists for index, item in enumerate(one)]
    yield from found
