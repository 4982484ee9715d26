"""Figures that explain the segments: feature importance and recognition rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from segmentation.evaluation.formats import in_units, percent
from segmentation.profiling.decision_rules import Branch, Condition, Rules
from segmentation.visualization.scales import shapes
from segmentation.visualization.segment_cards import wrapped_names
from segmentation.visualization.style import (
    INK,
    MARK,
    MUTED,
    RULE,
    headline,
    segment_color,
    shorten,
    single,
    styled,
    text_inches,
)

DISTANCE, SEPARATION = "#b9c4cf", "#0072b2"
MOST_FEATURES = 24
#: Maximum number of columns in the rules figure, and their width in inches.
MOST_COLUMNS, CELL = 10, 1.02
#: Customers used to place a value in its cell; more would not move it by a pixel.
PLACED_ROWS = 100_000
#: Maximum letters per line in the name of a column above its cell.
HEAD = 15
#: Height in inches of one branch of a rule.
ROW = 0.46


@styled
def feature_weights(table: pd.DataFrame) -> Figure:
    """Draw each feature's share of all distances, its share of the separation, and ``moved``.

    Parameters
    ----------
    table : DataFrame
        ``table`` of `segmentation.profiling.importance.Importance`, drawn in its order.
    """
    shown = table.head(MOST_FEATURES)
    separated = bool(shown["separation_share"].notna().any())
    labels = [shorten(name, 28) for name in shown["feature"]]
    left = max(text_inches(labels) + 0.3, 1.0)
    width, finding = max(left + 5.2, 6.8), _weight_finding(table, separated)
    top = 1.12 if len(finding) * 0.106 < width else 1.32
    figure, ax = single(
        width, top + 0.4 + 0.36 * len(shown), left=left, right=0.4, top=top, bottom=0.35
    )
    rows = np.arange(len(shown))
    ax.barh(rows + (0.19 if separated else 0), shown["distance_share"], height=0.36, color=DISTANCE)
    handles: list[Artist] = [Patch(color=DISTANCE, label="all distances after scaling")]
    most = float(shown["distance_share"].max())
    if separated:
        ax.barh(rows - 0.19, shown["separation_share"], height=0.36, color=SEPARATION)
        ax.plot(shown["moved"], rows, "D", color=MARK, markersize=4, clip_on=False, zorder=4)
        handles.insert(0, Patch(color=SEPARATION, label="difference between the segments"))
        handles.append(
            Line2D([], [], marker="D", color=MARK, linestyle="", markersize=4, label="moved")
        )
        most = max(most, float(shown["separation_share"].max()), float(shown["moved"].max()))
    main = shown["separation_share" if separated else "distance_share"].to_numpy()
    for row, (value, moved) in enumerate(zip(main, shown["moved"], strict=True)):
        # Put the text next to the diamond, not under it.
        x = moved if separated and 0 <= moved - value < 0.09 * most else value
        y = row - (0.19 if separated else 0)
        ax.text(x + 0.015 * most, y, percent(value), va="center_baseline", fontsize=8)
    ax.set_xlim(0, most * 1.14 if most < 0.85 else 1.08)
    ticks = [tick for tick in ax.get_xticks() if 0 <= tick <= 1]
    ax.set_xticks(ticks, [percent(tick) for tick in ticks])
    ax.set_yticks(rows, labels)
    ax.set_ylim(len(shown) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.05 / figure.get_figwidth(), 1 - (top + 0.01) / figure.get_figheight()),
        ncols=3,
        handlelength=1.0,
        columnspacing=1.2,
    )
    note = "moved: customers who change segments when only this feature is shuffled"
    if len(shown) < len(table):
        note = f"{len(shown)} of {len(table)} features; {note}"
    headline(figure, finding, note if separated else "")
    return figure


def _weight_finding(table: pd.DataFrame, separated: bool) -> str:
    if not separated:
        return "Share of each feature in the distances"
    names = [shorten(name, 22) for name in table["feature"]]
    first = float(table["separation_share"].iloc[0])
    if len(names) == 1:
        return f"{names[0]} is the only feature"
    if first > 0.5:
        return f"{names[0]} accounts for {percent(first)} of the difference between segments"
    two = float(table["separation_share"].iloc[:2].sum())
    return (
        f"{names[0]} and {names[1]} account for {percent(two)} of the difference between segments"
    )


@styled
def rule_chart(rules: Rules | None, frame: pd.DataFrame, names: Sequence[str]) -> Figure | None:
    """Draw the rules as ranges: one row per branch, one column per feature.

    A bar covers the part of all customers, ordered from lowest to highest, that meets its
    condition. A feature with a long tail is therefore drawn as clearly as any other.

    Parameters
    ----------
    rules : Rules or None
    frame : DataFrame
        The clustered columns of the customers.
    names : sequence of str
        Name of each segment id.

    Returns
    -------
    Figure or None
        None for a single segment.
    """
    if rules is None:
        return None
    used = [c.feature for rule in rules.rules for branch in rule.branches for c in branch]
    order = [feature for feature in frame.columns if feature in used]
    kept = sorted(order, key=lambda feature: -used.count(feature))[:MOST_COLUMNS]
    columns = [feature for feature in order if feature in kept]
    lines: list[tuple[int, Branch]] = [
        (rule.segment, branch) for rule in rules.rules for branch in rule.branches or ((),)
    ]
    labels, left = wrapped_names(names)
    heads = [_two_lines(feature) for feature in columns]
    width = left + CELL * len(columns) + 1.55
    figure, ax = single(
        max(width, 6.4),
        1.15 + ROW * len(lines),
        left=left,
        right=max(width, 6.4) - width + 0.1,
        top=1.05,
        bottom=0.1,
    )
    span = len(columns) + 1.45 / CELL
    ax.set_xlim(0, span)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    every = -(-len(frame) // PLACED_ROWS)
    numbers = [feature for feature in columns if _numeric(frame, feature)]
    places = {feature: np.sort(frame[feature].iloc[::every]) for feature in numbers}
    bars: list[tuple[float, float, int, str]] = []
    for row, (segment, branch) in enumerate(lines):
        for condition in branch:
            if condition.feature in columns:
                column = columns.index(condition.feature)
                bars += _cell(ax, column, row, condition, segment, places)
    shapes(
        ax,
        [
            np.array([(x, y + 0.12), (x + w, y + 0.12), (x + w, y + 0.28), (x, y + 0.28)])
            for x, w, y, _ in bars
        ],
        [color for *_, color in bars],
    )
    told: set[int] = set()
    ticks = []
    for row, (segment, branch) in enumerate(lines):
        if segment in told:
            ax.text(-0.05, row, "or", ha="right", va="center_baseline", fontsize=8, color=MUTED)
            continue
        told.add(segment)
        ticks.append(row)
        rule = rules.rules[segment]
        if row:
            ax.axhline(row - 0.5, color=RULE, linewidth=0.8)
        if not branch and not rule.branches:
            ax.text(0.1, row, rule.text, va="center_baseline", fontsize=8, color=MUTED)
        for place, value in ((0.33, rule.coverage), (1.0, rule.precision)):
            text = percent(value) if np.isfinite(value) else "–"
            at = len(columns) + place * 1.45 / CELL * 0.8
            ax.text(at, row, text, ha="center", va="center_baseline", fontsize=8.5)
    for at, head in enumerate(heads):
        _head(ax, at + 0.5, head)
    for place, head in ((0.33, "finds"), (1.0, "right")):
        _head(ax, len(columns) + place * 1.45 / CELL * 0.8, head)
    _names(ax, [labels[lines[row][0]] for row in ticks], [lines[row][0] for row in ticks], ticks)
    note = "finds: of the segment's customers; right: of those found; both on held-out customers"
    if len(columns) < len(order):
        note += f"; {len(order) - len(columns)} less used features not shown"
    headline(figure, rules.verdict.removesuffix("."), note)
    return figure


def _numeric(frame: pd.DataFrame, feature: str) -> bool:
    return bool(pd.api.types.is_numeric_dtype(frame[feature]))


def _cell(
    ax: Axes,
    column: int,
    row: int,
    condition: Condition,
    segment: int,
    places: dict[str, np.ndarray],
) -> list[tuple[float, float, int, str]]:
    """Write a condition; return its bars as left edge, width, row and colour."""
    bars: list[tuple[float, float, int, str]] = []
    low, high, x, width = 0.0, 1.0, column + 0.06, 0.88
    if condition.all_values:
        text = shorten(condition.text.removeprefix(f"{condition.feature} ").removeprefix("is "), 15)
    else:
        ordered = places[condition.feature]
        if condition.above is not None:
            low = float(np.searchsorted(ordered, condition.above, side="right")) / len(ordered)
        if condition.at_most is not None:
            high = float(np.searchsorted(ordered, condition.at_most, side="right")) / len(ordered)
        text = _range(condition)
        bars.append((x, width, row, RULE))
        part = max(high - low, 0.02) * width
        bars.append((x + low * width, part, row, segment_color(segment)))
    y = row if condition.all_values else row - 0.12
    ax.text(column + 0.5, y, text, ha="center", va="center_baseline", fontsize=8, color=INK)
    return bars


def _range(condition: Condition) -> str:
    if condition.above is None:
        return f"≤ {in_units(float(condition.at_most or 0))}"
    if condition.at_most is None:
        return f"> {in_units(condition.above)}"
    return f"{in_units(condition.above)} to {in_units(condition.at_most)}"


def _head(ax: Axes, x: float, text: str) -> None:
    ax.text(x, -0.6, text, ha="center", va="baseline", fontsize=8, color=MUTED, linespacing=1.0)


def _two_lines(feature: str) -> str:
    """Break a column's name between words into at most two lines of a cell's width."""
    words = feature.replace("_", " ").split()
    first = ""
    while words and len(f"{first} {words[0]}".strip()) <= HEAD:
        first = f"{first} {words.pop(0)}".strip()
    rest = " ".join(words)
    return f"{first}\n{shorten(rest, HEAD)}" if first and rest else shorten(first or rest, HEAD)


def _names(ax: Axes, labels: Sequence[str], ids: Sequence[int], rows: Sequence[int]) -> None:
    ax.set_xticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_yticks(rows, labels, fontsize=8, linespacing=1.05)
    ax.tick_params(axis="y", length=0, pad=26)
    for segment, row in zip(ids, rows, strict=True):
        ax.annotate(
            str(segment),
            (0, row),
            xytext=(-15, 0),
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontweight="bold",
            annotation_clip=False,
        )
