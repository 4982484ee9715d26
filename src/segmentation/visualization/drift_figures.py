"""Figures for monitoring: segments then and now, features that drifted."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from segmentation.evaluation.formats import percent
from segmentation.visualization.style import (
    INK,
    MUTED,
    headline,
    segment_color,
    shorten,
    single,
    styled,
    text_inches,
)

ROW = 0.42
#: Maximum number of rows in a figure; the tables list all.
MOST = 20
_COLORS = {"ok": "#8a97a5", "watch": "#e69f00", "retrain": "#c6463f"}


@styled
def shares(segments: pd.DataFrame) -> Figure:
    """Draw the share of each segment then (grey) and now (coloured), with intervals.

    Parameters
    ----------
    segments : DataFrame
        `segmentation.monitoring.monitor.Monitored.segments`.
    """
    shown = segments.head(MOST)
    labels = [shorten(f"{row.segment}  {row.name}", 44) for row in shown.itertuples(index=False)]
    left = text_inches(labels) + 0.3
    figure, ax = single(left + 5.2, 1.3 + ROW * len(shown), left=left, top=0.85, bottom=0.45)
    for at, row in enumerate(shown.to_dict("records")):
        color = segment_color(row["segment"])
        ax.plot([row["then_low"], row["then_high"]], [at - 0.13] * 2, color=MUTED, lw=1.5)
        ax.plot([row["then"]], [at - 0.13], "o", color="white", mec=MUTED, mew=1.5, ms=7)
        ax.plot([row["low"], row["high"]], [at + 0.13] * 2, color=color, lw=2)
        ax.plot([row["now"]], [at + 0.13], "o", color=color, ms=8)
    ax.set_yticks(range(len(shown)), labels, parse_math=False)
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(lambda value, _: percent(value))
    moved = shown.iloc[int((shown["now"] - shown["then"]).abs().to_numpy().argmax())]
    finding = (
        f"Segment {moved['segment']} changed most: {percent(moved['then'])} then, "
        f"{percent(moved['now'])} now"
    )
    headline(
        figure,
        "No segment's share is past its limit" if set(shown["verdict"]) == {"ok"} else finding,
        "Share of the customers; hollow: then, filled: now, lines: intervals",
    )
    return figure


@styled
def features(table: pd.DataFrame, watch: float, retrain: float) -> Figure:
    """Draw the PSI of each feature with the limits.

    Parameters
    ----------
    table : DataFrame
        `segmentation.monitoring.monitor.Monitored.features`, at least one row with a PSI.
    watch, retrain : float
        The limits.
    """
    shown = table.dropna(subset="psi").sort_values("psi", ascending=False).head(MOST)
    labels = [shorten(name, 34) for name in shown["feature"]]
    left = text_inches(labels) + 0.3
    figure, ax = single(left + 5.2, 1.3 + ROW * len(shown), left=left, top=0.85, bottom=0.45)
    ax.barh(range(len(shown)), shown["psi"], color=[_COLORS[v] for v in shown["verdict"]])
    ax.plot(shown["chance"], range(len(shown)), "|", color=INK, ms=14, mew=1.5)
    for limit, name in ((watch, "watch"), (retrain, "retrain")):
        ax.axvline(limit, color=_COLORS[name], lw=1.2, ls="--")
        ax.text(limit, -0.86, f" {name}", fontsize=8.5, color=MUTED, va="top")
    ax.set_yticks(range(len(shown)), labels, parse_math=False)
    ax.set_ylim(len(shown) - 0.4, -0.9)
    ax.set_xlim(0, max(1.15 * retrain, 1.1 * float(shown["psi"].max())))
    count = int((shown["verdict"] != "ok").sum())
    headline(
        figure,
        f"The distribution of {count} of {len(shown)} features has changed"
        if count
        else "No feature's distribution has changed",
        "Population stability index; black mark: upper limit for chance alone",
    )
    return figure
