"""Any text as a chat template: refused or rendered, within the sandbox's limits of time and size, and never with
another exception than the one that says so."""

from __future__ import annotations

import time

from fuzz.python.given import Given

from rustllm.chat.sandbox import MAX_CHARS
from rustllm.chat.template import ChatTemplate, TemplateError

#: Seconds that a template may take to be compiled, probed and rendered: many times what real ones take, on an
#: instrumented program.
LONGEST = 20.0

#: Words of a template that are put together at most.
LENGTH = 60

WORDS = [
    "{%",
    "%}",
    "{{",
    "}}",
    "{%-",
    "-%}",
    "{#",
    "#}",
    "for",
    "in",
    "if",
    "else",
    "elif",
    "endif",
    "endfor",
    "set",
    "endset",
    "macro",
    "endmacro",
    "call",
    "endcall",
    "filter",
    "endfilter",
    "raw",
    "endraw",
    "generation",
    "endgeneration",
    "break",
    "continue",
    "namespace",
    "loop",
    "messages",
    "message",
    "tools",
    "bos_token",
    "eos_token",
    "add_generation_prompt",
    "true",
    "false",
    "none",
    "not",
    "and",
    "or",
    "is",
    "defined",
    "string",
    "mapping",
    "iterable",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ".",
    "|",
    "~",
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "**",
    "==",
    "!=",
    "<",
    ">",
    "=",
    "'a'",
    '"b"',
    "0",
    "1",
    "9",
    "999999999",
    "1e9",
    "[0]",
    "[-1]",
    "[1:]",
    ".role",
    ".content",
    ".items()",
    "['role']",
    "['content']",
    "range(",
    "|length",
    "|trim",
    "|tojson",
    "|upper",
    "|join('')",
    "|replace('a','b')",
    "|selectattr('role')",
    "|map('upper')",
    "|list",
    "|format(1)",
    "|string",
    "|reverse",
    "|sort",
    "|batch(2)",
    "|indent(9)",
    "|center(99999)",
    "|wordwrap(1)",
    "|truncate(3)",
    "raise_exception(",
    "strftime_now(",
    "'%d'",
    "*",
    "'%s'",
    ".__class__",
    "|attr('__class__')",
    ".append(1)",
    ".update({})",
    "loop.index",
    "loop.first",
    "loop.last",
    "cycler(",
    "joiner(",
    "lipsum(",
    "dict(",
    "self",
    "super",
]

MESSAGES = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "u\u00e9"},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "v"},
]


def words(data: bytes) -> list[str]:
    """The words of a template: most are of the list, a few are any text."""
    given = Given(data)
    found = []
    while given.left and len(found) < LENGTH:
        found.append(given.text(6) if given.number(10) == 9 else given.pick(WORDS))
    return found


def check(data: bytes) -> None:
    """One template."""
    source = " ".join(words(data))
    began = time.thread_time()
    try:
        prompt = ChatTemplate(source, bos="<s>", eos="</s>").render(MESSAGES)
    except TemplateError:
        prompt = ""
    assert len(prompt) <= MAX_CHARS, source
    assert time.thread_time() - began < LONGEST, source
