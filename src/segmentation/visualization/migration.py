"""Customers who change segment when a new model becomes champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from numpy.typing import NDArray

from segmentation.evaluation.formats import percent
from segmentation.visualization.style import (
    INK,
    MUTED,
    headline,
    segment_color,
    single,
    styled,
    text_inches,
    wrapped,
)

NAME_COLUMNS = 26
#: With more segments on a side, names and cell numbers are left out.
MOST_NAMED = 24
#: Height in inches of a name on two lines.
LABEL = 0.36
#: Gap between two segments of the flow, as a share of the height.
GAP = 0.02


@dataclass(frozen=True)
class Sides:
    """The texts of a figure of `bands`.

    Attributes
    ----------
    headings : tuple of two str
    labels : tuple of two mappings of int to str
        Label of each segment, by its id in the rows or in the columns of the counts.
    finding, note : str
        The headline, and what is drawn.
    """

    headings: tuple[str, str]
    labels: tuple[Mapping[int, str], Mapping[int, str]]
    finding: str
    note: str


@styled
def heatmap(counts: pd.DataFrame, names: Mapping[int, str]) -> Figure:
    """Draw the migration matrix: each row shows where the customers of one segment went.

    Parameters
    ----------
    counts : DataFrame
        Number of customers; rows are the champion's segment ids, columns the challenger's.
    names : mapping of int to str
        Name of every segment id in rows and columns.
    """
    counts = counts.sort_index().sort_index(axis=1)
    old, new = _ids(counts.index), _ids(counts.columns)
    table = counts.to_numpy(dtype=float)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    labels = [_label(segment, names) for segment in old]
    heads = [_label(segment, names).replace(", ", ",\n") for segment in new]
    cell = 0.95 if len(new) <= MOST_NAMED else 0.4
    left, bottom = text_inches(labels) + 0.3, 0.25
    rise = 0.75 * text_inches(heads) + 0.25
    figure, ax = single(
        left + cell * len(new) + rise + 0.2,
        0.75 + rise + 0.5 * len(old) + bottom,
        left=left,
        right=rise + 0.2,
        top=0.75 + rise,
        bottom=bottom,
    )
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(new) <= MOST_NAMED:
        for i, j in zip(*np.nonzero(table), strict=True):
            ink = "white" if shares[i, j] > 0.5 else INK
            text = f"{percent(shares[i, j])}\n{table[i, j]:,.0f}"
            ax.text(j, i, text, ha="center", va="center", fontsize=8, color=ink)
    ax.set_yticks(range(len(old)), labels)
    ax.set_xticks(range(len(new)), heads)
    ax.xaxis.tick_top()
    # `set_xticks` would rotate only the labels below, which are not shown.
    for tick in ax.xaxis.get_major_ticks():
        tick.label2.set(rotation=40, ha="left", rotation_mode="anchor")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    headline(figure, _finding(counts), "rows: champion, columns: challenger; share of the row")
    return figure


def flow(counts: pd.DataFrame, names: Mapping[int, str]) -> Figure:
    """Draw bands of customers from the champion's segments (left) to the challenger's (right).

    Parameters
    ----------
    counts, names
        See `heatmap`.
    """
    old, new = (
        {segment: _label(segment, names) for segment in _ids(side)}
        for side in (counts.index, counts.columns)
    )
    sides = Sides(
        headings=("champion", "challenger"),
        labels=(old, new),
        finding=_finding(counts),
        note="strong bands: customers who keep their segment; pale: customers who change it",
    )
    return bands(counts, sides)


@styled
def bands(counts: pd.DataFrame, sides: Sides) -> Figure:
    """Draw bands of customers from the segments on the left to those on the right.

    Parameters
    ----------
    counts : DataFrame
        Number of customers; rows are the ids on the left, columns those on the right. Equal ids
        have equal colours, and the bands between them are strong.
    sides : Sides
        The texts.
    """
    counts = counts.sort_index().sort_index(axis=1)
    old, new = _ids(counts.index), _ids(counts.columns)
    table = counts.to_numpy(dtype=float)
    total = max(table.sum(), 1.0)
    most = max(len(old), len(new))
    texts = [
        {segment: wrapped(labels[segment], NAME_COLUMNS) for segment in ids}
        for labels, ids in zip(sides.labels, (old, new), strict=True)
    ]
    labels = [text for side in texts for text in side.values()]
    side = text_inches(labels) + 0.25
    height = 1.0 + max(3.0, 0.5 * most)
    figure, ax = single(2 * side + 4.2, height, left=side, right=side, top=0.85, bottom=0.15)
    scale = (1 - GAP * (most - 1)) / total
    tops = [_tops(table.sum(axis=axis), scale) for axis in (1, 0)]
    leaves, enters = tops[0].copy(), tops[1].copy()
    for i, segment in enumerate(old):
        for j in range(len(new)):
            band = table[i, j] * scale
            if band > 0:
                stays = segment == new[j]
                _band(ax, leaves[i], enters[j], band, segment_color(segment), stays)
            leaves[i] += band
            enters[j] += band
    for x, ids, edges, sizes, told in (
        (0.0, old, tops[0], table.sum(axis=1), texts[0]),
        (1.0, new, tops[1], table.sum(axis=0), texts[1]),
    ):
        for segment, y, size in zip(ids, edges, sizes, strict=True):
            box = Rectangle((x - 0.02, y), 0.04, size * scale, color=segment_color(segment), lw=0)
            ax.add_patch(box)
        if most <= MOST_NAMED:
            at, align = (x - 0.035, "right") if x == 0 else (x + 0.035, "left")
            least = LABEL if any("\n" in label for label in labels) else LABEL / 2
            heights = _spread(edges + sizes * scale / 2, least / (height - 1.0))
            for segment, y in zip(ids, heights, strict=True):
                ax.text(at, y, told[segment], ha=align, va="center", fontsize=8.5)
    for x, heading, align in zip((-0.02, 1.02), sides.headings, ("left", "right"), strict=True):
        ax.text(x, -0.02, heading, ha=align, va="bottom", color=MUTED)
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(1.0, -0.02)
    ax.axis("off")
    headline(figure, sides.finding, sides.note)
    return figure


def _finding(counts: pd.DataFrame) -> str:
    table = counts.to_numpy(dtype=float)
    stays = np.equal.outer(counts.index.to_numpy(), counts.columns.to_numpy())
    total = max(table.sum(), 1.0)
    share = 1 - table[stays].sum() / total
    if share == 0:
        return f"All {total:,.0f} customers keep their segment"
    return f"{percent(share)} of {total:,.0f} customers change their segment"


def _ids(index: pd.Index) -> list[int]:
    return [int(segment) for segment in index]


def _label(segment: int, names: Mapping[int, str]) -> str:
    return f"{segment} {names[segment]}"


def _tops(sizes: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return the upper edge of each segment on one side, from top to bottom."""
    ends = np.cumsum(sizes * scale + GAP)
    return np.concatenate([[0.0], ends[:-1]])


def _spread(middles: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Move heights apart to at least `least`, within 0..1 if they fit."""
    apart = least * np.arange(len(middles))
    down = np.maximum.accumulate(middles - apart) + apart
    last = 1 - least / 2
    return np.asarray(np.minimum(down, last - apart[::-1]))


def _band(ax: Axes, left: float, right: float, width: float, color: str, stays: bool) -> None:
    """Draw an S-shaped band of constant height from left to right."""
    x0, x1, middle = 0.02, 0.98, 0.5
    points = [
        (x0, left),
        (middle, left),
        (middle, right),
        (x1, right),
        (x1, right + width),
        (middle, right + width),
        (middle, left + width),
        (x0, left + width),
        (x0, left),
    ]
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    alpha = 0.65 if stays else 0.25
    ax.add_patch(PathPatch(Path(points, codes), facecolor=color, alpha=alpha, lw=0))
