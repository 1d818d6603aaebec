"""How results show themselves: one line in a terminal, Markdown or HTML in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

#: Characters of a text in one line.
_WIDTH = 60


def short(text: str) -> str:
    """A text in quotes, cut where it is long.

    >>> short("a" * 70).endswith("aaa…'")
    True
    """
    return repr(text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…")


def numbers(values: Sequence[float]) -> str:
    """A vector by its first values and its size."""
    first = ", ".join(f"{value:.4f}" for value in values[:3])
    return f"[{first}{', …' if len(values) > 3 else ''}], size={len(values)}"


def completion_html(prompt: str | None, answers: Sequence[tuple[str, str]]) -> str:
    """A prompt, pale, with its answers."""
    head = "" if prompt is None else f'<span style="opacity:.6">{escape(prompt)}</span>'
    style = "white-space:pre-wrap;margin:.3em 0"
    rows = (f'<div style="{style}" title="{escape(reason)}">{head}{escape(text)}</div>' for text, reason in answers)
    return "".join(rows)


def reply_markdown(content: str, thought: str, calls: Sequence[tuple[str, str]]) -> str:
    """An answer as it is, for models write Markdown; its thought is folded."""
    parts = []
    if thought:
        parts.append(f"<details><summary>Thought</summary>\n\n{escape(thought, quote=False)}\n\n</details>")
    if content:
        parts.append(content)
    parts += [f"```python\n{name}({arguments})\n```" for name, arguments in calls]
    return "\n\n".join(parts)


def score_html(tokens: Sequence[str], logprobs: Sequence[float]) -> str:
    """Tokens, the redder the less probable."""

    def span(token: str, logprob: float) -> str:
        alpha = min(1.0, -logprob / 10.0)
        colour = f"rgba(220,60,40,{alpha:.2f})"
        return f'<span style="background:{colour}" title="{logprob:.3f}">{escape(token)}</span>'

    spans = "".join(map(span, tokens, logprobs))
    return f'<div style="white-space:pre-wrap">{spans}</div>'
