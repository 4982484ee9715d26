"""Axes, number formats and bins for counts, skewed columns and whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import PolyCollection
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from segmentation.runtime.blocks import parts, standard_deviation

#: A long-tailed column with a larger skewness is drawn on a log scale.
SKEWED = 2.0


def number(value: float, _position: int | None = None) -> str:
    """Format a number in short form: ``1.2M``, ``45k``, ``3.5``, never ``1e+06``."""
    size = abs(value)
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if limit <= size < 1e15:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def signed(z: float) -> str:
    """Format a difference with its sign and one decimal; ``0`` if it rounds to zero."""
    text = f"{z:+.1f}".replace("-", "−")
    return "0" if text in ("+0.0", "−0.0") else text


def shapes(ax: Axes, corners: Sequence[NDArray[np.float64]], colors: Sequence[Any]) -> None:
    """Draw filled shapes as one artist, since creating one artist per shape is slow.

    Parameters
    ----------
    ax : Axes
        The caller sets its limits.
    corners : sequence of ndarray of shape (any, 2)
        The corners of each shape, in data coordinates.
    colors : sequence of colours
    """
    collection = PolyCollection(corners, facecolors=colors, linewidths=0, closed=False)
    ax.add_collection(collection, autolim=False)


def stairs(
    edges: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the corners of the area between two step curves over the same bins.

    Parameters
    ----------
    edges : ndarray of shape (bins + 1,)
    low, high : ndarray of shape (bins,)

    Returns
    -------
    ndarray of shape (4 * bins, 2)
    """
    x = np.repeat(edges, 2)[1:-1]
    there = np.column_stack([x, np.repeat(high, 2)])
    back = np.column_stack([x, np.repeat(low, 2)])[::-1]
    return np.concatenate([there, back])


def number_axis(axis: Axis, ticks: int = 5) -> None:
    """Set a few ticks with short numbers."""
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(number))


def k_axis(axes: Axes, ks: Sequence[int]) -> None:
    """Set ticks at whole numbers of segments along x, fewer if there are many."""
    step = 1 + (len(ks) - 1) // 16
    axes.set_xticks([int(k) for k in ks][::step])
    axes.set_xlim(min(ks) - 0.5, max(ks) + 0.5)


def log1p_axis(axis: Axis, low: float, high: float) -> None:
    """Set ticks at round values of a column that is drawn as its ``log1p``."""
    decades = [
        sign * 10.0**power
        for sign in (-1, 1)
        for power in range(-3, 16)
        if low <= sign * 10.0**power <= high
    ]
    ticks = sorted({0.0, *decades}) if low <= 0 <= high else sorted(decades)
    ticks = [tick for tick in ticks if tick == 0 or high < 100 or abs(tick) >= 1]
    if len(ticks) < 3 and 0 < 5 * low < high:
        powers = range(int(np.floor(np.log10(low))), int(np.floor(np.log10(high))) + 1)
        steps = [[step * 10.0**power for step in (1, 2, 5)] for power in powers]
        ticks = [tick for decade in steps for tick in decade if low <= tick <= high]
        if len(ticks) > 5:
            ticks = [tick for one, _, five in steps for tick in (one, five) if low <= tick <= high]
    elif len(ticks) < 3:
        ticks = [t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    elif len(ticks) > 5:
        ticks = ticks[:: 1 + (len(ticks) - 1) // 4]
    positions = np.log1p(ticks)
    axis.set_ticks(positions, [number(tick) for tick in ticks])


def is_skewed(values: NDArray[np.float64]) -> bool:
    """Return whether the right tail is so long that a linear axis would show a single spike."""
    mean = float(values.mean())
    spread = standard_deviation(values, mean)
    if values.min() < 0 or spread == 0 or not _has_many(values):
        return False
    cubes = sum(float((((values[part] - mean) / spread) ** 3).sum()) for part in parts(len(values)))
    return cubes / len(values) > SKEWED


def _has_many(values: NDArray[np.float64]) -> bool:
    # The first values usually suffice.
    return any(len(np.unique(some)) > 20 for some in (values[:1000], values))


def bin_edges(values: NDArray[np.float64], *, most: int = 30) -> NDArray[np.float64]:
    """Return the edges of about sqrt(n) equal bins; whole numbers get bins of whole width."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    bins = int(np.clip(np.sqrt(len(values)), 8, most))
    width = (high - low) / bins
    whole = all(np.all(some == np.round(some)) for some in (values[:1000], values))
    if whole and abs(high) < 1e9 and abs(low) < 1e9:
        # Other widths would cover unequal numbers of integers, which looks like spikes.
        width = max(1.0, np.ceil(width))
        return np.arange(low - 0.5, high + width + 0.5, width)
    return np.linspace(low, high, bins + 1)
