"""How numbers are written for readers: the same in tables, figures and sentences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def percent(share: float) -> str:
    """``0.836`` as ``84 %``; small shares keep a digit so that none but zero reads as zero."""
    if np.isnan(share):
        return "–"
    # The space does not break: a line never starts with the sign.
    if 1e-9 < abs(share) < 0.0005:
        return "<0.1\N{NO-BREAK SPACE}%"
    digits = 1 if 0.0005 <= abs(share) < 0.0095 else 0
    return f"{100 * abs(share):.{digits}f}\N{NO-BREAK SPACE}%"


def in_units(value: float) -> str:
    """A number in the customers' own units: ``45,123``, ``86.5``, ``0.012``."""
    if not np.isfinite(value):
        return "–"
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"
    return text.replace("-", "−")


def decimals(digits: int) -> Callable[[float], str]:
    """A function that writes a number with so many decimals: ``decimals(2)(0.5)`` is ``0.50``."""
    return lambda value: f"{value:.{digits}f}"


def whole(value: float) -> str:
    """``-12345.6`` as ``-12,346``."""
    return f"{value:,.0f}"
