"""Distributions of the customers' columns before clustering."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.api.types import is_numeric_dtype

from segmentation.evaluation.formats import percent
from segmentation.visualization.scales import bin_edges, is_skewed, log1p_axis, number_axis
from segmentation.visualization.style import (
    MUTED,
    headline,
    panels,
    shorten,
    styled,
)

#: Not a segment's colour: the customers are not segmented yet.
BAR = "#a9b8c6"
MOST_COLUMNS = 24
MOST_CATEGORIES = 8


@styled
def distributions(customers: Mapping[str, pd.Series]) -> Figure:
    """Draw one small panel per column: a histogram of numbers, or bars of categories.

    Parameters
    ----------
    customers : mapping of str to Series
        Columns in their original units. Only the first 24 are drawn, without missing values.
    """
    columns = list(customers)[:MOST_COLUMNS]
    per_row = len(columns) if len(columns) <= 4 else 4 if len(columns) <= 12 else 5
    figure, axes = panels(
        len(columns), per_row, size=(1.95, 1.35), gap=(0.55, 0.72), top=1.05, bottom=0.35
    )
    skewed = []
    for column, ax in zip(columns, axes, strict=True):
        values = customers[column].dropna()
        if is_numeric_dtype(values):
            if _histogram(ax, values.to_numpy(dtype=float)):
                skewed.append(column)
        else:
            _bars(ax, values.astype(str))
        title = shorten(column, 24 if column not in skewed else 18)
        ax.set_title(title + (" (log)" if column in skewed else ""), pad=4)
    n, total = len(customers[columns[0]]), len(customers)
    note = "customers per value; dashed: the median" + (
        f"; the first {len(columns)} of {total} columns" if total > len(columns) else ""
    )
    finding = f"{n:,} customers, {total} columns"
    if skewed:
        finding += f", {len(skewed)} of them with a long tail"
    headline(figure, finding, note)
    return figure


def _histogram(ax: Axes, values: np.ndarray) -> bool:
    """Draw a histogram; return whether its scale is logarithmic."""
    log = is_skewed(values)
    median = float(np.median(values))
    drawn = np.log1p(values) if log else values
    counts, edges = np.histogram(drawn, bin_edges(drawn))
    ax.stairs(counts, edges, fill=True, color=BAR, edgecolor="white", linewidth=0.5)
    ax.set_ylim(0, counts.max() * 1.08)
    number_axis(ax.yaxis, 3)
    if log:
        log1p_axis(ax.xaxis, float(values.min()), float(values.max()))
    else:
        number_axis(ax.xaxis, 4)
    ax.axvline(
        float(np.log1p(median)) if log else median, color=MUTED, linewidth=1, linestyle=(0, (3, 2))
    )
    return log


def _bars(ax: Axes, values: pd.Series) -> None:
    counts = values.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    shown = counts.iloc[:MOST_CATEGORIES]
    names = [shorten(name, 14) for name in shown.index]
    heights = list(shown)
    if len(counts) > len(shown):
        names[-1] = f"{len(counts) - len(shown) + 1} more"
        heights[-1] = int(counts.iloc[len(shown) - 1 :].sum())
    rows = np.arange(len(names))
    ax.barh(rows, heights, color=BAR, height=0.75)
    ax.set_ylim(max(len(names), 3) - 0.4, -0.6)
    ax.set_xlim(0, max(heights) * 1.05)
    ax.set_yticks([])
    ax.set_xticks([])
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    for row, (name, height) in enumerate(zip(names, heights, strict=True)):
        ax.text(
            max(heights) * 0.02,
            row,
            f"{name}  {percent(height / len(values))}",
            va="center",
            fontsize=min(8.5, 70 / max(len(names), 8)),
        )
