"""Progress messages: computations report them, and the caller decides where to show them."""

from __future__ import annotations

from collections.abc import Callable

#: Receives a line of progress.
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Show nothing."""
