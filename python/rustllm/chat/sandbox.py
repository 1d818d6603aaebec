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
from jinja2.filters import make_attrgetter
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

#: Entries of a new list that count as one tick: each takes as much memory as eight characters.
ENTRIES_PER_TICK = 100

#: Filters and functions of web pages and of filler text: no prompt needs them, and the time that they take for a text
#: is out of proportion to it.
_LEFT_OUT = frozenset({"lipsum", "pprint", "striptags", "urlize", "wordwrap", "xmlattr"})

#: Filters of texts.
_OF_TEXTS = frozenset(
    {"capitalize", "center", "e", "escape", "forceescape", "format", "indent", "lower", "replace", "reverse", "safe"}
    | {"string", "title", "tojson", "trim", "upper", "urlencode", "wordcount"}
)

#: Filters that write out what they are given.
_WRITTEN_OUT = frozenset({"e", "escape", "forceescape", "join", "string", "tojson"})

#: How long the results of some filters are, at most.
_LENGTHS: dict[str, Callable[..., int]] = {
    "center": lambda text, width=80: max(len(text), width),
    "indent": lambda text, width=4, *_, **__: (
        len(text) + (text.count("\n") + 1) * (width if isinstance(width, int) else len(str(width)))
    ),
    "replace": lambda text, old, new, *_, **__: len(text) + text.count(str(old)) * len(str(new)),
}

#: Filters that take no longer for a larger value.
_AT_ONCE = frozenset({"count", "default", "d", "first", "last", "length"})


#: A field of `%` formatting with a width (or precision) of four digits or from a value.
_WIDE_PERCENT = re.compile(r"%(\([^)]*\))?[-+ #0]*(\d{4}|\*|\d*\.(\d{4}|\*))")


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

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        # `~` writes out its operands.
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.sliced(")
        self.visit(node.node, frame)
        for part in (node.arg.start, node.arg.stop, node.arg.step):
            self.write(", ")
            if part is None:
                self.write("None")
            else:
                self.visit(part, frame)
        self.write(")")


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
        self.filters["tojson"] = self._tojson
        self.globals["raise_exception"] = _raise_exception
        for left_out in _LEFT_OUT:
            self.filters.pop(left_out, None)
            self.globals.pop(left_out, None)
        for name, length in _LENGTHS.items():
            self.filters[name] = self._of_length(self.filters[name], length)
        self.filters["join"] = self._join
        self.filters["sum"] = self._sum
        self.filters["format"] = self._format
        self.finalize = self._output
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
        written_out = super().wrap_str_format(value)
        if written_out is None or not isinstance(text, str):
            return written_out

        def bounded(*args: Any, **kwargs: Any) -> Any:
            self.builds(len(text) + text.count("{") * sum(map(written, (*args, kwargs))))
            return written_out(*args, **kwargs)

        return bounded

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
            if name in _WRITTEN_OUT:
                self.builds(sum(map(written, args)))
            return function(*args, **kwargs)

        return _marked(wrapper, function)

    def _of_length(self, function: Callable[..., Any], length: Callable[..., int]) -> Callable[..., Any]:
        """A filter of texts whose results are about so long."""
        # Some filters get jinja's own context first.
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            self.builds(length(*map(str, args[first : first + 1]), *args[first + 1 :], **kwargs))
            return function(*args, **kwargs)

        return _marked(wrapper, function)

    def builds(self, length: int) -> None:
        """Before a value of so many characters is made: it may not be too long, and costs steps."""
        _check_length(length)
        self.tick(length // CHARS_PER_TICK)

    def concatenated(self, parts: tuple[Any, ...]) -> str:
        """What `~` makes of its operands."""
        self.builds(sum(map(written, parts)))
        return "".join(map(str, parts))

    def sliced(self, value: Any, start: Any, stop: Any, step: Any) -> Any:
        """A part of a value, which is a copy."""
        part = slice(start, stop, step)
        if isinstance(value, (str, list, tuple)):
            self._grows(value, len(range(*part.indices(len(value)))))
        return value[part]

    def _output(self, value: Any) -> Any:
        """A value that goes into the prompt."""
        if isinstance(value, (list, tuple, dict)):
            self.builds(written(value))
        return value

    def _join(self, value: Any, d: str = "", attribute: str | int | None = None) -> str:
        found = list(value)
        if attribute is not None:
            of = make_attrgetter(self, attribute)
            found = [of(one) for one in found]
        return self._joined(str(d), found)

    def _joined(self, separator: str, parts: list[Any]) -> str:
        self.builds(sum(map(written, parts)) + len(separator) * len(parts))
        return separator.join(map(str, parts))

    def _sum(self, value: Any, attribute: str | int | None = None, start: float = 0) -> Any:
        if not isinstance(start, (int, float)):
            # Lists would be added up in a time that grows with the square of their number.
            raise SecurityError("a sum that does not start with a number is not allowed in a template")
        return sum(value if attribute is None else map(make_attrgetter(self, attribute), value), start)

    def _format(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = str(value)
        if _WIDE_PERCENT.search(text):
            raise SecurityError("a format with a large or computed width is not allowed in a template")
        self.builds(len(text) + text.count("%") * sum(map(written, (*args, kwargs))))
        return str(text % (kwargs or args))

    def _tojson(self, value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        """As Hugging Face renders it: no HTML escapes, characters as they are."""
        separators = options.get("separators")
        indent = min(indent, 16) if isinstance(indent, int) else None
        encoder = json.JSONEncoder(
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=tuple(separators) if separators else None,
            sort_keys=bool(options.get("sort_keys", False)),
        )
        if indent is None:
            return encoder.encode(value)
        # How much indentation there will be is known when it is there.
        parts, length = [], 0
        for part in encoder.iterencode(value):
            parts.append(part)
            length += len(part)
            self.tick()
            _check_length(length)
        return "".join(parts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            raise SecurityError("powers are not allowed in a template")
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, (str, list, tuple)) and isinstance(count, int):
                    self._grows(text, len(text) * max(count, 0))
        if operator == "%" and isinstance(left, str):
            raise SecurityError("% formatting is not allowed in a template")
        if operator == "+" and isinstance(left, (str, list)) and isinstance(right, (str, list)):
            self._grows(left, len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def _grows(self, value: str | list[Any] | tuple[Any, ...], length: int) -> None:
        """Before one of so many elements is made."""
        self.builds(length)
        if not isinstance(value, str):
            self.tick(length // ENTRIES_PER_TICK)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        name = getattr(obj, "__name__", "")
        owner = getattr(obj, "__self__", None)
        self.tick(CALL_TICKS)
        if isinstance(owner, str):
            self.builds(len(owner))
            if name in ("ljust", "rjust", "center", "zfill", "expandtabs", "translate"):
                raise SecurityError(f"str.{name} is not allowed in a template")
            if name == "replace" and len(args) >= 2 and len(str(args[1])) > len(str(args[0])):
                self.builds(len(owner) + (owner.count(str(args[0])) * len(str(args[1]))))
            if name == "join" and len(args) == 1:
                return self._joined(owner, list(args[0]))
        return super().call(context, obj, *args, **kwargs)


def _has_wide_field(text: str) -> bool:
    """Whether a format string has a width of four digits or one that comes from a value."""
    try:
        specs = [spec for _, _, spec, _ in string.Formatter().parse(text) if spec]
    except ValueError:
        return False  # the formatter itself refuses it
    return any(_WIDTH.match(spec) for spec in specs)


def written(value: object) -> int:
    """About as many characters as a value has when it is written out, or more than are allowed; a list may have one
    large text many times over."""
    length, left = 0, [value]
    while left and length <= MAX_CHARS:
        value = left.pop()
        if isinstance(value, str):
            length += len(value)
        elif isinstance(value, dict):
            length += 4 * len(value)
            left += [*value.keys(), *value.values()]
        elif isinstance(value, (list, tuple)):
            length += 2 * len(value)
            left += value
        else:
            length += 8
    return length


def _check_length(length: int) -> None:
    if length > MAX_CHARS:
        raise SecurityError(f"the template builds a value of {length} elements; allowed: {MAX_CHARS}")


def _marked(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The wrapper of a filter with its marks: jinja2 finds by attributes which want the environment or the context."""
    wrapper.__dict__.update(getattr(function, "__dict__", {}))
    return wrapper


def _raise_exception(message: object) -> None:
    raise JinjaError(str(message)[:1000])


def strftime_at(now: datetime) -> Callable[[str], str]:
    """`strftime_now` of templates, at a given moment."""
    return lambda layout: now.strftime(str(layout)[:256])
