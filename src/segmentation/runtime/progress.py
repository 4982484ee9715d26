"""Progress: who computes says how far they are, and the caller decides where that is shown."""

from __future__ import annotations

from collections.abc import Callable

#: Takes a line of progress.
Say = Callable[[str], None]


def silent(line: str) -> None:
    """Show nothing."""
