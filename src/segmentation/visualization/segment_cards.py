"""Figures of the segments: sizes, profiles, silhouettes and stability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from segmentation.evaluation.formats import percent
from segmentation.profiling.exemplars import BORDERLINE
from segmentation.visualization.scales import number_axis, shapes, signed, stairs
from segmentation.visualization.style import (
    INK,
    MARK,
    MUTED,
    headline,
    segment_color,
    shorten,
    single,
    styled,
    text_inches,
    wrapped,
)

MOST_SEGMENTS = 40
NAME_COLUMNS = 30
#: Height in inches of a segment's row, enough for a name on two lines.
ROW = 0.34
MOST_FEATURES = 24
#: Points per segment in the silhouette plot; more would not be visible.
KNIFE_POINTS = 300


@styled
def sizes(counts: Sequence[int], names: Sequence[str]) -> Figure | None:
    """Draw the number and share of customers per segment; None for a single segment."""
    k, n = len(counts), sum(counts)
    if k < 2:
        return None
    shown = min(k, MOST_SEGMENTS)
    labels, left = wrapped_names(names[:shown])
    figure, ax = single(left + 5.0, 0.95 + ROW * shown, left=left, top=0.8, bottom=0.15)
    colors = [segment_color(segment) for segment in range(shown)]
    ax.barh(range(shown), counts[:shown], color=colors, height=0.74)
    for row, count in enumerate(counts[:shown]):
        ax.text(count + max(counts) * 0.012, row, f"{count:,}  ({percent(count / n)})", va="center")
    _rows(ax, labels, range(shown))
    ax.set_ylim(shown - 0.5, -0.5)
    ax.set_xlim(0, max(counts) * 1.28)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    largest, smallest = max(counts) / n, min(counts) / n
    headline(
        figure,
        f"The largest segment holds {percent(largest)} of the customers, "
        f"the smallest {percent(smallest)}",
        f"{n:,} customers" + (f"; the {shown} largest of {k} segments" if shown < k else ""),
    )
    return figure


@styled
def silhouette_plot(silhouettes: pd.DataFrame, names: Sequence[str]) -> Figure | None:
    """Draw the silhouette of every customer, sorted within segments (Rousseeuw 1987).

    Parameters
    ----------
    silhouettes : DataFrame
        Columns ``segment`` and ``silhouette``, one row per (sampled) customer.
    names : sequence of str
        Name of each segment id.

    Returns
    -------
    Figure or None
        None if there are no silhouettes (a single segment).
    """
    if silhouettes.empty or len(names) < 2:
        return None
    values = silhouettes["silhouette"].to_numpy(dtype=float)
    segment = silhouettes["segment"].to_numpy()
    k, n = len(names), len(values)
    labels, left = wrapped_names(names)
    height = 1.3 + max(ROW * k, 2.4)
    figure, ax = single(left + 4.9, height, left=left, top=0.8, bottom=0.5)
    gap = max(n * 0.012, 0.5)
    middles, top = [], 0.0
    knives = []
    for index in range(k):
        knife = np.sort(values[segment == index])[::-1]
        ends = np.linspace(top, top + len(knife), min(len(knife), KNIFE_POINTS) + 1)
        picked = knife[np.linspace(0, max(len(knife) - 1, 0), len(ends) - 1).astype(int)]
        knives.append(stairs(ends, np.zeros(len(picked)), picked)[:, ::-1])
        middles.append(top + len(knife) / 2)
        top += len(knife) + gap
    shapes(ax, knives, [segment_color(index) for index in range(k)])
    mean = float(values.mean())
    ax.axvline(mean, color=MARK, linewidth=1.2, linestyle=(0, (4, 3)))
    ax.axvline(0, color=MUTED, linewidth=0.8)
    ax.set_ylim(top, -gap)
    ax.set_xlim(min(0.0, float(values.min())) - 0.02, max(0.5, float(values.max()) + 0.05))
    row = ROW * 0.9 * (top + gap) / (height - 1.3)
    places = _spread(middles, row, top - row / 2)
    _rows(ax, labels, places)
    leaders = [
        [(-0.022, place), (0.0, middle)] for place, middle in zip(places, middles, strict=True)
    ]
    ax.add_collection(
        LineCollection(
            leaders,
            colors=[segment_color(index) for index in range(k)],
            linewidths=2.5,
            transform=ax.get_yaxis_transform(),
            clip_on=False,
        ),
        autolim=False,
    )
    number_axis(ax.xaxis)
    ax.set_xlabel("silhouette")
    borderline = float((values < BORDERLINE).mean())
    headline(
        figure,
        f"{percent(borderline)} of the customers lie between two segments"
        if borderline > 0
        else "No customer lies between two segments",
        f"silhouette of {n:,} customers; dashed: mean {mean:.2f}; "
        f"between two: below {BORDERLINE:.1f}",
    )
    return figure


@styled
def profile_heatmap(
    profile: pd.DataFrame, names: Sequence[str], shares: Sequence[float]
) -> Figure | None:
    """Draw the mean of every numeric feature per segment, in standard deviations.

    Parameters
    ----------
    profile : DataFrame
        Columns ``segment``, ``feature`` and ``z``; rows with a ``category`` are skipped.
    names, shares : sequences
        Name and share of customers, by segment id.

    Returns
    -------
    Figure or None
        None for a single segment, or if no feature is numeric.
    """
    numeric = profile[profile["category"].isna()] if "category" in profile else profile
    if len(names) < 2 or numeric.empty:
        return None
    wide = numeric.pivot(index="segment", columns="feature", values="z")
    wide = wide.reindex(range(len(names)))[list(dict.fromkeys(numeric["feature"]))]
    telling = separation(wide, shares)
    features = list(wide.columns)
    if len(features) > MOST_FEATURES:
        kept = set(telling.index[:MOST_FEATURES])
        features = [feature for feature in features if feature in kept]
    shown = min(len(names), MOST_SEGMENTS)
    z = wide[features].to_numpy()[:shown]
    labels, left = wrapped_names(names[:shown])
    columns = [shorten(feature, 22) for feature in features]
    # Keep names horizontal only if they fit; a wider name would overlap the next.
    cell = 1.1 if len(features) <= 6 else 0.46
    level = text_inches(columns) <= cell
    bottom = 0.35 if level else 0.25 + 0.75 * text_inches(columns)
    width = max(left + cell * len(features) + 0.3, 6.4)
    figure, ax = single(
        width,
        0.85 + ROW * shown + bottom,
        left=left,
        right=width - left - cell * len(features),
        top=0.85,
        bottom=bottom,
    )
    limit = 2.0
    ax.imshow(z, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    for (row, column), value in np.ndenumerate(z):
        ax.text(
            column,
            row,
            signed(value) if np.isfinite(value) else "–",
            ha="center",
            va="center_baseline",
            fontsize=8 if cell < 0.5 else 9,
            color="white" if abs(value) > 0.68 * limit else INK,
        )
    turned: dict[str, Any] = (
        {} if level else {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    )
    ax.set_xticks(range(len(features)), columns, **turned)
    _rows(ax, labels, range(shown))
    ax.tick_params(length=0)
    between: dict[str, Any] = {"colors": "white", "linewidth": 1.5}
    ax.vlines(np.arange(len(features) - 1) + 0.5, -0.5, shown - 0.5, **between)
    ax.hlines(np.arange(shown - 1) + 0.5, -0.5, len(features) - 0.5, **between)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    best = [shorten(feature, 24) for feature in telling.index[:2]]
    verb = "separate" if len(best) > 1 else "separates"
    note = "segment mean in standard deviations from the mean of all customers"
    if len(features) < wide.shape[1]:
        note += f"; {len(features)} of {wide.shape[1]} features"
    # A category may separate them better, but is not drawn here.
    among = "Of the numeric features, " if len(numeric) < len(profile) else ""
    headline(figure, f"{among}{' and '.join(best)} {verb} the segments best", note)
    return figure


def separation(wide: pd.DataFrame, shares: Sequence[float]) -> pd.Series:
    """Return the share of each feature's variance that is between segments, highest first.

    Parameters
    ----------
    wide : DataFrame of shape (k, features)
        z-scores of the segments' means.
    shares : sequence of float, length k
        Share of the customers in each segment.

    Returns
    -------
    Series
        eta squared per feature: the share-weighted mean of the squared z-scores.
    """
    eta = wide.pow(2).mul(np.asarray(shares), axis=0).sum()
    # Rounded so that equal features keep their order despite rounding errors.
    return eta.round(9).sort_values(ascending=False, kind="stable")


#: Bands of a segment's mean Jaccard similarity: Hennig (2007), Comput. Stat. Data Anal. 52.
STABILITY_BANDS = (
    (0.0, 0.5, "dissolved", "#f3d3c5"),
    (0.5, 0.6, "", "#f8e8d0"),
    (0.6, 0.75, "doubtful", "#f6f2dc"),
    (0.75, 0.85, "stable", "#e0ecf4"),
    (0.85, 1.0, "very stable", "#c6dcec"),
)


@styled
def stability(jaccard: NDArray[np.float64], names: Sequence[str]) -> Figure | None:
    """Draw the mean Jaccard similarity under resampling; None for a single segment.

    Parameters
    ----------
    jaccard : ndarray of shape (k,)
        Mean similarity from 0 to 1, by segment id.
    names : sequence of str
        Name of each segment id.
    """
    k = len(names)
    if k < 2:
        return None
    shown = min(k, MOST_SEGMENTS)
    labels, left = wrapped_names(names[:shown])
    figure, ax = single(left + 6.0, 1.5 + ROW * shown, left=left, right=0.6, top=1.0, bottom=0.5)
    for low, high, word, color in STABILITY_BANDS:
        ax.axvspan(low, high, color=color, linewidth=0, zorder=0)
        ax.text(
            (low + high) / 2,
            1.015,
            word,
            transform=ax.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
            color=MUTED,
        )
    values = np.asarray(jaccard, dtype=float)
    drawn = np.nan_to_num(values[:shown])
    colors = [segment_color(segment) for segment in range(shown)]
    ax.barh(range(shown), drawn, color=colors, height=0.6)
    for row, value in enumerate(values[:shown]):
        text = f"{value:.2f}" if np.isfinite(value) else "–"
        ax.text(1.015, row, text, va="center_baseline")
    _rows(ax, labels, range(shown))
    ax.set_ylim(shown - 0.5, -0.5)
    ax.set_xlim(0, 1.0)
    ax.set_xticks([0, 0.5, 0.6, 0.75, 0.85, 1.0], ["0", "0.5", "0.6", "0.75", "0.85", "1"])
    ax.set_xlabel("mean Jaccard similarity to the nearest segment of a resample")
    finite = values[np.isfinite(values)]
    steady, gone = int((finite >= 0.75).sum()), int((finite < 0.5).sum())
    finding = (
        f"All {k} segments reappear when the customers are resampled"
        if steady == k
        else f"{steady} of {k} segments are stable when the customers are resampled"
        + (f", {gone} dissolve" if gone > 1 else ", 1 dissolves" if gone == 1 else "")
    )
    headline(figure, finding, "bootstrap per segment; bands after Hennig (2007)")
    return figure


def wrapped_names(names: Sequence[str]) -> tuple[list[str], float]:
    """Return names on up to two lines, and the left margin in inches for names and ids."""
    labels = [wrapped(name, NAME_COLUMNS) for name in names]
    return labels, text_inches(labels, 8) + 0.62


def _rows(ax: Axes, labels: Sequence[str], places: Sequence[float]) -> None:
    """Write the names of the segments along y, with their ids next to the axis."""
    ax.set_yticks(places, labels, fontsize=8, linespacing=1.05)
    ax.tick_params(axis="y", length=0, pad=20 if len(labels) <= 10 else 26)
    ax.spines["left"].set_visible(False)
    beside = offset_copy(ax.get_yaxis_transform(), ax.get_figure(root=True), x=-9, units="points")
    for segment, place in enumerate(places):
        ax.text(
            0,
            place,
            str(segment),
            transform=beside,
            ha="right",
            va="center_baseline",
            fontweight="bold",
        )


def _spread(places: Sequence[float], gap: float, bottom: float) -> list[float]:
    """Move rising `places` just far enough to keep them `gap` apart and above `bottom`."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    limit = bottom
    for index in range(len(moved) - 1, -1, -1):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - gap
    return moved
