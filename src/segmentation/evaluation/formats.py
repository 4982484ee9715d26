"""Number formats for readers, shared by tables, figures and sentences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Number of characters of a digest that titles and tables show.
SHORT_DIGEST = 8


def percent(share: float) -> str:
    """Format ``0.836`` as ``84 %``; small shares keep a digit so that only zero reads as zero."""
    if np.isnan(share):
        return "–"
    # A no-break space keeps the sign from starting a line.
    if 1e-9 < abs(share) < 0.0005:
        return "<0.1\N{NO-BREAK SPACE}%"
    digits = 1 if 0.0005 <= abs(share) < 0.0095 else 0
    return f"{100 * abs(share):.{digits}f}\N{NO-BREAK SPACE}%"


def in_units(value: float) -> str:
    """Format a number in the units of the data: ``45,123``, ``86.5``, ``0.012``."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"
    return text.replace("-", "−")


def decimals(digits: int) -> Callable[[float], str]:
    """Return a function that formats with this many decimals: ``decimals(2)(0.5)`` is ``0.50``."""
    return lambda value: f"{value:.{digits}f}"


def short_digest(digest: str) -> str:
    """Return the beginning of a digest, by which readers tell data sets apart."""
    return digest[:SHORT_DIGEST]


def whole(value: float) -> str:
    """Format ``-12345.6`` as ``-12,346``."""
    return f"{value:,.0f}"
