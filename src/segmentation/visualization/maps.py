"""Scatter plots of the segments: segment map and pair plot."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from segmentation.evaluation.formats import percent
from segmentation.runtime.blocks import parts
from segmentation.visualization.scales import bin_edges, log1p_axis, number_axis, shapes, stairs
from segmentation.visualization.style import (
    INK,
    MUTED,
    headline,
    panels,
    sample_rows,
    segment_color,
    segment_colors,
    shorten,
    single,
    styled,
    text_inches,
    wrapped,
)

#: Positions of customers.
Rows = slice | NDArray[np.intp]

MAP_POINTS = 4_000
PAIR_POINTS = 1_200
PAIR_COLUMNS = 5
LEGEND_ROWS = 16
LEGEND_COLUMNS = 30
#: Inches left of a pair plot's panels and between them.
LEFT, GAP = 0.8, 0.16
MIDDLE: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 8}


def principal_components(
    Z: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return scores (n, count), shares of the variance (count,) and loadings (count, d).

    They are computed from the d x d covariance, so 1e7 rows cost one matrix product. The sign of an
    eigenvector is arbitrary; the largest loading of every component is made positive so that the
    figure is deterministic.
    """
    mean, shares, loadings = _principal_axes(Z, count)
    return (Z - mean) @ loadings.T, shares, loadings


def _principal_axes(
    Z: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (d,), and shares and loadings as in `principal_components`.

    scikit-learn's ``PCA(svd_solver="covariance_eigh")`` subtracts the mean from sums of squares.
    That takes half as long (1.1 s instead of 2.5 s for 1e7 x 8), but if a column lies a billion
    standard deviations from zero, such as an unscaled timestamp, its first component is rounding
    error. Neither copies `Z`.
    """
    mean = Z.mean(axis=0, dtype=np.float64)
    squares = np.zeros((Z.shape[1], Z.shape[1]))
    for part in parts(len(Z)):
        centred = Z[part] - mean
        squares += centred.T @ centred
    variances, vectors = np.linalg.eigh(squares)
    order = np.argsort(variances)[::-1][:count]
    loadings = vectors[:, order].T
    # Rounded: two standardised columns load equally, and the last digit depends on the row order.
    largest = np.abs(loadings).round(9).argmax(axis=1)
    loadings *= np.sign(loadings[np.arange(len(loadings)), largest])[:, None]
    total = float(variances.sum())
    shares = variances[order] / total if total > 0 else np.zeros(len(order))
    return mean, shares, loadings


@styled
def segment_map(
    frame: pd.DataFrame,
    Z: NDArray[np.float64],
    labels: NDArray[np.int32],
    names: Sequence[str],
    *,
    encoded_names: Sequence[str],
    log1p: Collection[str] = (),
    seed: int = 0,
) -> Figure:
    """Draw the customers in the plane, coloured by segment, with numbered centres.

    Two numeric features are drawn in their original units, a single one as a stacked histogram,
    and more on the first two principal components of the scaled space.

    Parameters
    ----------
    frame : DataFrame of shape (n, features)
        The clustered columns in their original units.
    Z : ndarray of shape (n, d)
        The same customers after encoding and scaling.
    labels : ndarray of shape (n,)
        Segment ids.
    names : sequence of str
        Name of each segment id.
    encoded_names : sequence of str
        Names of the d columns of `Z`.
    log1p : collection of str
        Columns drawn on a log scale.
    seed : int
        Seeds the sample that is drawn from more than 4,000 customers.
    """
    k, n = len(names), len(labels)
    beside = _legend_width(names) + 0.1 if k > 1 else 0.3
    height = 4.7 if k <= 10 else 4.7 + 0.3 * (min(k, LEGEND_ROWS) - 10)
    figure, ax = single(5.2 + beside, height, right=beside)
    note = ""
    if Z.shape[1] == 1:
        column = str(frame.columns[0])
        values, is_log = _column(frame, column, log1p)
        _stacked_histogram(ax, values, labels, k)
        _name_axis(ax.xaxis, frame, column, is_log)
        ax.set_ylabel("customers")
        number_axis(ax.yaxis)
        finding = f"{_segments(k)} along {shorten(column, 40)}"
    else:
        rows = sample_rows(n, MAP_POINTS, seed)
        if len(rows) < n:
            note = f"a random sample of {len(rows):,} of {n:,} customers; "
        direct = Z.shape[1] == frame.shape[1] == 2 and all(map(is_numeric_dtype, frame.dtypes))
        if direct:
            x_name, y_name = map(str, frame.columns)
            (x, x_log), (y, y_log) = (_column(frame, name, log1p) for name in (x_name, y_name))
            _name_axis(ax.xaxis, frame, x_name, x_log)
            _name_axis(ax.yaxis, frame, y_name, y_log)
            finding = f"{_segments(k)} in {shorten(x_name, 28)} and {shorten(y_name, 28)}"

            def placed(some: Rows) -> NDArray[np.float64]:
                return np.column_stack([x[some], y[some]])
        else:
            mean, shares, loadings = _principal_axes(Z, 2)

            def placed(some: Rows) -> NDArray[np.float64]:
                return (Z[some] - mean) @ loadings.T

            for axis, share, loading in zip((ax.xaxis, ax.yaxis), shares, loadings, strict=True):
                axis.set_label_text(
                    f"{percent(share)} of the variance: {_mix(loading, encoded_names)}"
                )
                number_axis(axis)
            finding = (
                f"{_segments(k)} in the two directions that carry "
                f"{percent(float(shares.sum()))} of the variance"
            )
        xs, ys = placed(rows).T
        _points(ax, xs, ys, labels[rows], k)
        note += "numbers: the mean of each segment" if k > 1 else "no segments"
        if k > 1:
            _centres(ax, placed, labels, k)
    if k > 1:
        _legend(figure, names, x=5.3, top=0.75, room=height - 1.0)
    headline(figure, finding, note)
    return figure


@styled
def pair_plot(
    frame: pd.DataFrame,
    labels: NDArray[np.int32],
    names: Sequence[str],
    *,
    log1p: Collection[str] = (),
    seed: int = 0,
) -> Figure | None:
    """Draw every pair of columns, with each column's histogram on the diagonal.

    Parameters
    ----------
    frame : DataFrame of shape (n, columns)
        Numeric columns in their original units; the first five are drawn.
    labels : ndarray of shape (n,)
        Segment ids.
    names : sequence of str
        Name of each segment id.
    log1p : collection of str
        Columns drawn on a log scale.
    seed : int
        Seeds the sample that is drawn from more than 1,200 customers.

    Returns
    -------
    Figure or None
        None if there are fewer than two columns.
    """
    columns = [str(column) for column in frame.columns[:PAIR_COLUMNS]]
    if len(columns) < 2:
        return None
    k, n, side = len(names), len(labels), len(columns)
    rows = sample_rows(n, PAIR_POINTS, seed)
    drawn = [_column(frame, column, log1p) for column in columns]
    panel = {2: 2.5, 3: 2.0, 4: 1.65}.get(side, 1.45)
    letters = int(panel / 0.08)
    right = max(0.25, _legend_width(names) - panel) if k > 1 else 0.25
    lower = [(row, column) for row in range(side) for column in range(row + 1)]
    figure, axes = panels(
        side * side,
        side,
        size=(panel, panel),
        gap=(GAP, GAP),
        left=LEFT,
        right=right,
        top=0.85,
        bottom=0.6,
        only=[row * side + column for row, column in lower],
    )
    for (row, column), ax in zip(lower, axes, strict=True):
        (x, _), (y, _) = drawn[column], drawn[row]
        if row == column:
            _stacked_histogram(ax, x, labels, k)
            ax.spines["left"].set_visible(False)
        else:
            _points(ax, x[rows], y[rows], labels[rows], k, size=0.55)
        is_log = drawn[column][1]
        _name_axis(ax.xaxis, frame, columns[column], is_log, shown=row == side - 1, width=letters)
        if row == column:
            ax.set_yticks([])
            if row == 0:
                ax.set_ylabel("customers")
        else:
            is_log = drawn[row][1]
            _name_axis(ax.yaxis, frame, columns[row], is_log, shown=column == 0, width=letters)
        ax.tick_params(labelsize=7.5, length=2.5)
    if k > 1:
        # The upper triangle would repeat the lower one, so the legend goes there.
        corner = LEFT + (side - 1) * (panel + GAP)
        _legend(figure, names, x=corner, top=0.85, room=(side - 1) * (panel + GAP) - 0.2)
    note = "diagonal: customers per value"
    if len(rows) < n:
        note = f"a random sample of {len(rows):,} of {n:,} customers; " + note
    if side < frame.shape[1]:
        note += f"; the {side} of {frame.shape[1]} columns that separate the segments most"
    shown = f"{_segments(k)} in every pair of {side} columns"
    headline(figure, shown, note)
    return figure


def _segments(k: int) -> str:
    return f"{k} segments" if k > 1 else "All customers"


def _column(
    frame: pd.DataFrame, column: str, log1p: Collection[str]
) -> tuple[NDArray[np.float64], bool]:
    values = frame[column].to_numpy(dtype=float)
    return (np.log1p(values), True) if column in log1p else (values, False)


def _name_axis(
    axis: Axis,
    frame: pd.DataFrame,
    column: str,
    is_log: bool,
    *,
    shown: bool = True,
    width: int = 40,
) -> None:
    if is_log:
        log1p_axis(axis, float(frame[column].min()), float(frame[column].max()))
    else:
        number_axis(axis, 4 if not shown else 5)
    if shown:
        mark = " (log)" if is_log else ""
        axis.set_label_text(shorten(column, width - len(mark)) + mark)
    else:
        axis.set_tick_params(labelbottom=False, labelleft=False)


def _points(
    ax: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    labels: NDArray[np.int32],
    k: int,
    *,
    size: float = 1.0,
) -> None:
    """Draw all segments as one scatter, in the rows' random order."""
    area = float(np.clip(9_000 / max(len(x), 1), 5, 30)) * size
    ax.scatter(
        x,
        y,
        s=area,
        c=segment_colors(k)[labels],
        alpha=0.85 if len(x) <= 500 else 0.65,
        linewidths=0.3 if len(x) <= 500 else 0,
        edgecolors="white",
    )
    ax.margins(0.05)


def _centres(
    ax: Axes, placed: Callable[[Rows], NDArray[np.float64]], labels: NDArray[np.int32], k: int
) -> None:
    """Draw numbered rings at the mean position of each segment's customers."""
    sums, sizes = np.zeros((2, k)), np.zeros(k)
    for part in parts(len(labels)):
        sizes += np.bincount(labels[part], minlength=k)
        for total, values in zip(sums, placed(part).T, strict=True):
            total += np.bincount(labels[part], values, k)
    xs, ys = sums / np.maximum(sizes, 1)
    rings = [segment_color(segment) for segment in range(k)]
    # A dark rim keeps the rings of pale colours visible.
    ax.scatter(xs, ys, s=215, c=MUTED, linewidths=0, zorder=4)
    ax.scatter(xs, ys, s=150, c="white", edgecolors=rings, linewidths=2.2, zorder=4)
    for segment in range(k):
        ax.text(
            xs[segment],
            ys[segment],
            str(segment),
            ha="center",
            va="center_baseline",
            fontsize=8,
            fontweight="bold",
            color=INK,
            zorder=5,
        )


def _stacked_histogram(
    ax: Axes, values: NDArray[np.float64], labels: NDArray[np.int32], k: int
) -> None:
    edges = bin_edges(values)
    counts = [np.histogram(values[labels == segment], edges)[0] for segment in range(k)]
    tops = np.cumsum([np.zeros(len(edges) - 1), *counts], axis=0)
    steps = [stairs(edges, low, high) for low, high in pairwise(tops)]
    shapes(ax, steps, [segment_color(segment) for segment in range(k)])
    margin = 0.03 * (edges[-1] - edges[0])
    ax.set_xlim(edges[0] - margin, edges[-1] + margin)
    ax.set_ylim(0, tops[-1].max() * 1.08)


def _legend_width(names: Sequence[str]) -> float:
    return 0.45 + text_inches([wrapped(name, LEGEND_COLUMNS) for name in names], 8)


def _legend(figure: Figure, names: Sequence[str], *, x: float, top: float, room: float) -> None:
    """Draw the names of the segments in an empty corner; lengths in inches."""
    two_lines = len(names) * 0.3 <= room
    most = len(names) if two_lines else int(min(room / 0.18, LEGEND_ROWS))
    entries = [
        wrapped(name, LEGEND_COLUMNS) if two_lines else shorten(name, LEGEND_COLUMNS)
        for name in names
    ]
    if len(entries) > most:
        entries = [*entries[: most - 1], f"and {len(names) - most + 1} more"]
    width, height = figure.get_size_inches()
    step = 0.3 if two_lines else 0.18
    ys = 1 - (top + step * (np.arange(len(entries)) + 0.5)) / height
    for segment, (entry, y) in enumerate(zip(entries, ys, strict=True)):
        known = segment < most - 1 or len(names) <= most
        if known:
            figure.text((x + 0.1) / width, y, "●", color=segment_color(segment), **MIDDLE)
            figure.text((x + 0.28) / width, y, str(segment), fontweight="bold", **MIDDLE)
        figure.text((x + 0.4) / width, y, entry, fontsize=8, va="center", linespacing=1.05)


def _mix(loading: NDArray[np.float64], names: Sequence[str]) -> str:
    """Return the strongest columns of a component, with their signs."""
    order = np.argsort(-np.abs(loading), kind="stable")[:2]
    parts: list[str] = []
    for index in order:
        if abs(loading[index]) < 0.2:
            continue
        sign = "−" if loading[index] < 0 else "+" if parts else ""
        parts.append(f"{sign} {shorten(names[index], 18)}".strip())
    return " ".join(parts) + (" …" if len(names) > len(parts) else "")
