"""The progress bar of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(total: int, name: str, shown: bool) -> Iterator[Callable[[int], object]]:
    """A bar for `total` things, of which its value takes how many more are done. One thing alone has none."""
    if not shown or total < 2:
        yield lambda _: None
        return
    # In notebooks it is a widget.
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=name, unit="prompt", dynamic_ncols=True) as bar:
        yield bar.update
