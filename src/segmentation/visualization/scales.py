"""Axes for what customers' columns hold: counts of segments, skewed money, whole numbers."""

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

#: A long-tailed column from this skewness on is drawn on a log scale.
SKEWED = 2.0


def number(value: float, _position: int | None = None) -> str:
    """A short readable number: ``1.2M``, ``45k``, ``3.5``, never ``1e+06``."""
    size = abs(value)
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if limit <= size < 1e15:
            return f"{value / (1e3 if unit == 'k' else limit):.3g}{unit}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def signed(z: float) -> str:
    """A difference with its sign and one digit; ``0`` where that digit is 0."""
    text = f"{z:+.1f}".replace("-", "−")
    return "0" if text in ("+0.0", "−0.0") else text


def shapes(ax: Axes, corners: Sequence[NDArray[np.float64]], colors: Sequence[Any]) -> None:
    """Filled shapes as one artist: an artist each would take longer to make than to draw.

    Parameters
    ----------
    ax : Axes
        Its limits are the caller's to set.
    corners : sequence of ndarray of shape (any, 2)
        The corners of each shape, in data coordinates.
    colors : sequence of colours
    """
    collection = PolyCollection(corners, facecolors=colors, linewidths=0, closed=False)
    ax.add_collection(collection, autolim=False)


def stairs(
    edges: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Corners of the area between two step curves over the same bins.

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
    """Few ticks with short numbers."""
    axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(number))


def k_axis(axes: Axes, ks: Sequence[int]) -> None:
    """Whole numbers of segments along x, thinned out when there are many."""
    step = 1 + (len(ks) - 1) // 16
    axes.set_xticks([int(k) for k in ks][::step])
    axes.set_xlim(min(ks) - 0.5, max(ks) + 0.5)


def log1p_axis(axis: Axis, low: float, high: float) -> None:
    """Ticks at round numbers of the column on an axis drawn in ``log1p`` of it."""
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
    """Whether a column has so long a right tail that a linear axis shows one spike."""
    mean = float(values.mean())
    spread = standard_deviation(values, mean)
    if values.min() < 0 or spread == 0 or not _has_many(values):
        return False
    cubes = sum(float((((values[part] - mean) / spread) ** 3).sum()) for part in parts(len(values)))
    return cubes / len(values) > SKEWED


def _has_many(values: NDArray[np.float64]) -> bool:
    # The first ones mostly tell.
    return any(len(np.unique(some)) > 20 for some in (values[:1000], values))


def bin_edges(values: NDArray[np.float64], *, most: int = 30) -> NDArray[np.float64]:
    """Edges of about sqrt(n) equal bins; whole numbers get bins of whole width around them."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.array([low - 0.5, high + 0.5])
    bins = int(np.clip(np.sqrt(len(values)), 8, most))
    width = (high - low) / bins
    whole = all(np.all(some == np.round(some)) for some in (values[:1000], values))
    if whole and abs(high) < 1e9 and abs(low) < 1e9:
        # Bins that are no multiple of 1 hold unequal numbers of whole numbers: false teeth.
        width = max(1.0, np.ceil(width))
        return np.arange(low - 0.5, high + width + 0.5, width)
    return np.linspace(low, high, bins + 1)
