"""A jinja2 environment for templates that come from model files: no attribute tricks, and limits
on time and memory that jinja2's own sandbox does not have."""

from __future__ import annotations

import json
import re
import string
import threading
from collections.abc import Callable
from datetime import datetime
from time import thread_time
from typing import Any

from jinja2 import TemplateError as JinjaError
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Loop turns, branches and macro calls of one rendering. Real templates need a few thousand for a
#: long chat.
MAX_TICKS = 500_000

#: Steps that the call of a function counts for; it takes about as long as so many blocks.
CALL_TICKS = 5

#: Characters that one expression may build, and a whole prompt may have.
MAX_CHARS = 8_000_000


#: The start of a format specification with a width (or precision) of four digits or from a value.
_WIDTH = re.compile(r"(.?[<>=^])?[-+ ]?z?#?0?(\d{4}|\{|\d*[_,]?\.(\d{4}|\{))")


#: Seconds of a processor that one rendering may take. Real templates need milliseconds; ticks alone do not bound what
#: is done to texts of `MAX_CHARS`.
MAX_SECONDS = 2.0

#: Ticks between two looks at the clock.
LOOK_TICKS = 50

#: Elements of a value for which a filter counts as one tick more: of a filter that has each of them in its hands, which
#: for a text are its characters, and of one that is done with all of a text in one go.
ELEMENTS_PER_TICK = 2
CHARS_PER_TICK = 1000

#: Filters of texts.
_OF_TEXTS = frozenset(
    {"capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lower", "replace", "reverse", "safe"}
    | {"string", "striptags", "title", "tojson", "trim", "upper", "urlencode", "urlize", "wordcount", "wordwrap"}
)

#: Filters that take no longer for a larger value.
_AT_ONCE = frozenset({"count", "default", "d", "first", "last", "length"})


class Budget(threading.local):
    """What is left of the rendering that runs on this thread: nothing where none does."""

    ticks = 0
    #: The clock is looked at below so many ticks.
    look = 0
    until = 0.0

    def begin(self) -> None:
        """A rendering begins."""
        self.ticks = self.look = MAX_TICKS
        self.until = thread_time() + MAX_SECONDS

    def check(self) -> None:
        """Raises SecurityError where nothing is left."""
        if self.ticks < 0:
            raise SecurityError(f"the template takes more than {MAX_TICKS} steps")
        if thread_time() > self.until:
            raise SecurityError(f"the template takes more than {MAX_SECONDS:g} seconds")
        self.look = max(0, self.ticks - LOOK_TICKS)


class _TickingCodeGenerator(CodeGenerator):
    """Compiled templates count each block that they enter."""

    def blockvisit(self, nodes: Any, frame: Frame) -> None:
        self.writeline("environment.tick()")
        super().blockvisit(nodes, frame)


class _GenerationTag(Extension):
    """`{% generation %}` marks the assistant's text for training; here it is transparent."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """Renders within `MAX_TICKS` and `MAX_CHARS`."""

    code_generator_class = _TickingCodeGenerator
    intercepted_binops = frozenset(["*", "%", "**", "+"])

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols])
        self.budget = Budget()
        self.filters["tojson"] = _tojson
        self.globals["raise_exception"] = _raise_exception
        for name in ("center", "indent", "replace", "wordwrap"):
            self.filters[name] = _limited(self.filters[name])
        # The compiler applies filters to constants; without a budget it leaves that to the rendering.
        self.filters = {name: self._counted(name, function) for name, function in self.filters.items()}

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """As jinja2's sandbox, which changes no lists, but for a queue: each call costs ticks."""
        if isinstance(obj, list) and attr in ("append", "pop"):
            return True
        return super().is_safe_attribute(obj, attr, value)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Refuses where jinja2 would go on with an undefined value."""
        raise SecurityError(f"the attribute {attribute!r} is not allowed in a template")

    def wrap_str_format(self, value: Any) -> Any:
        """Formats as jinja2's sandbox does, unless a width is large or computed."""
        text = getattr(value, "__self__", None)
        if isinstance(text, str) and _has_wide_field(text):
            raise SecurityError("a format with a large or computed width is not allowed in a template")
        return super().wrap_str_format(value)

    def tick(self, cost: int = 1) -> None:
        """Called by compiled templates at the start of each block."""
        budget = self.budget
        budget.ticks -= cost
        if budget.ticks < budget.look:
            budget.check()

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that costs ticks; one that looks at all of what it gets, by the size of that."""

        def cost(value: object) -> int:
            if name in _AT_ONCE or not isinstance(value, (str, list, tuple)):
                return 0
            return len(value) // (CHARS_PER_TICK if name in _OF_TEXTS else ELEMENTS_PER_TICK)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.tick(CALL_TICKS + sum(map(cost, args)))
            return function(*args, **kwargs)

        return _marked(wrapper, function)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("powers are not allowed in a template")
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, (str, list, tuple)) and isinstance(count, int):
                    _check_length(len(text) * max(count, 0))
        if operator == "%" and isinstance(left, str):
            raise SecurityError("% formatting is not allowed in a template")
        if operator == "+" and isinstance(left, (str, list)) and isinstance(right, (str, list)):
            _check_length(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        name = getattr(obj, "__name__", "")
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str):
            if name in ("ljust", "rjust", "center", "zfill", "expandtabs"):
                raise SecurityError(f"str.{name} is not allowed in a template")
            if name == "replace" and len(args) >= 2 and len(str(args[1])) > len(str(args[0])):
                _check_length(len(owner) + (owner.count(str(args[0])) * len(str(args[1]))))
        self.tick(CALL_TICKS)
        return super().call(context, obj, *args, **kwargs)


def _has_wide_field(text: str) -> bool:
    """Whether a format string has a width of four digits or one that comes from a value."""
    try:
        specs = [spec for _, _, spec, _ in string.Formatter().parse(text) if spec]
    except ValueError:
        return False  # the formatter itself refuses it
    return any(_WIDTH.match(spec) for spec in specs)


def _check_length(length: int) -> None:
    if length > MAX_CHARS:
        raise SecurityError(f"the template builds a value of {length} elements; allowed: {MAX_CHARS}")


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    # Some filters get jinja's own context first.
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        value, *options = (*args[first:], *kwargs.values())
        size = len(str(value)) if not isinstance(value, (int, float)) else 0
        numbers = [a for a in options if isinstance(a, int)]
        longest = max([0, *(len(a) for a in options if isinstance(a, str))])
        _check_length(size * max(1, longest) if longest > 64 else size + sum(abs(n) for n in numbers))
        return function(*args, **kwargs)

    return _marked(wrapper, function)


def _marked(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper of a filter with its marks: jinja2 finds by attributes which want the environment or the context."""
    wrapper.__dict__.update(getattr(function, "__dict__", {}))
    return wrapper


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """As Hugging Face renders it: no HTML escapes, characters as they are."""
    separators = options.get("separators")
    sort_keys = bool(options.get("sort_keys", False))
    indent = min(indent, 16) if isinstance(indent, int) else None
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=tuple(separators) if separators else None,
        sort_keys=sort_keys,
    )


def _raise_exception(message: object) -> None:
    raise JinjaError(str(message)[:1000])


def strftime_at(now: datetime) -> Callable[[str], str]:
    """`strftime_now` of templates, at a given moment."""
    return lambda layout: now.strftime(str(layout)[:256])
