"""Figures of a sweep: curves, grid of feature sets and scalings, merits, agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segmentation.visualization.scales import k_axis, number_axis
from segmentation.visualization.style import (
    INK,
    MARK,
    MUTED,
    headline,
    panels,
    shorten,
    single,
    styled,
)

MOST_PANELS = 24
#: Maximum number of feature sets, or scalings, shown by colour or marker.
MOST_KINDS = 10
#: Number of top answers whose marks are numbered.
NUMBERED = 3
MERITS = ("stability", "gap")
LINE = "#0072b2"


@styled
def all_curves(
    curves: Mapping[str, pd.DataFrame], chosen: Mapping[str, int], answers: int
) -> Figure:
    """Draw WCSS (as a share of k=1) and silhouette over k, one panel per answer.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        Keyed by the run that opened the answer, at most `MOST_PANELS`; indexed by k, columns
        ``wcss`` and ``silhouette``.
    chosen : mapping of str to int
        The chosen k of each run.
    answers : int
        Total number of answers, of which these are the first.
    """
    shown = list(curves)
    columns = min(4, len(shown))
    figure, axes = panels(len(shown), columns, size=(2.3, 1.5), gap=(0.2, 0.4))
    ks = sorted({int(k) for name in shown for k in curves[name].index})
    for place, (ax, name) in enumerate(zip(axes, shown, strict=True)):
        curve = curves[name]
        wcss, silhouette = curve["wcss"].to_numpy(), curve["silhouette"].to_numpy()
        ax.plot(curve.index, wcss / wcss.max(), color=MUTED, linewidth=1.4)
        ax.plot(curve.index, silhouette, color=LINE, marker="o", markersize=2.5)
        ax.axvline(chosen[name], color=MARK, linestyle="--", linewidth=1)
        ax.set_ylim(0, 1.05)
        k_axis(ax, ks)
        ax.set_title(shorten(name, 34), fontsize=8, color=INK)
        # All panels share their axes, so only the outer ones are labelled.
        ax.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(shown))
    more = f"; the first {len(shown)} of {answers} answers" if answers > len(shown) else ""
    headline(
        figure,
        "Silhouette and WCSS of every answer",
        f"blue: silhouette; grey: WCSS as a share of k = 1; dashed: chosen k{more}",
    )
    return figure


@styled
def grid(ranked: pd.DataFrame) -> Figure | None:
    """Draw the best rank of each feature set and scaling, with its k and confidence.

    Return None unless both vary.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`, best first.
    """
    features, scalings = ranked["features"].unique(), ranked["scaling"].unique()
    if len(features) < 2 or len(scalings) < 2:
        return None
    best = ranked.drop_duplicates(["features", "scaling"])
    table = best.pivot(index="features", columns="scaling", values="rank")
    words = {
        (str(row.features), str(row.scaling)): f"#{row.rank}   k = {row.k}\n{_verdict(row)}"
        for row in best.itertuples()
    }
    left = 0.35 + 0.075 * max(len(shorten(name, 28)) for name in table.index)
    figure, ax = single(
        left + 1.25 * len(table.columns) + 0.3, 1.5 + 0.55 * len(table), left=left, bottom=0.4
    )
    text = pd.DataFrame(
        [[words.get((str(y), str(x)), "") for x in table.columns] for y in table.index]
    )
    _heatmap(ax, table, text, cmap="Blues_r", low=1, high=max(2.0, 1.2 * ranked["rank"].max()))
    first = ranked.iloc[0]
    headline(
        figure,
        f"{shorten(first['features'], 30)} with {shorten(first['scaling'], 20)} ranks first",
        "runs with the same number give the same answer",
    )
    return figure


@styled
def merits(ranked: pd.DataFrame) -> Figure | None:
    """Draw stability and gap of every run, by feature set and scaling; None for a single run.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`, best first.
    """
    runs = ranked.assign(
        features=[shorten(name, 24) for name in ranked["features"]],
        scaling=[shorten(name, 24) for name in ranked["scaling"]],
    ).dropna(subset=["stability", "gap"])
    if len(runs) < 2:
        return None
    varied = [name for name in ("features", "scaling") if 1 < runs[name].nunique() <= MOST_KINDS]
    beside = 2.3 if varied else 0.3
    entries = sum(1 + runs[name].nunique() for name in varied)
    figure, ax = single(5.6 + beside, max(4.4, 1.6 + 0.21 * entries), right=beside, top=1.0)
    sns = _seaborn()
    sns.scatterplot(
        runs,
        x="stability",
        y="gap",
        hue="features" if "features" in varied else None,
        style="scaling" if "scaling" in varied else None,
        palette="colorblind" if "features" in varied else None,
        color=None if "features" in varied else LINE,
        s=55,
        ax=ax,
    )
    for (stability, gap), places in _marked(runs).items():
        ax.annotate(
            ", ".join(places),
            (stability, gap),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontweight="bold",
        )
    if varied:
        sns.move_legend(ax, "upper left", bbox_to_anchor=(1.04, 1.03))
        legend = ax.get_legend()
        assert legend is not None
        heads = [legend.get_title()]
        if len(varied) == 2:
            heads = [legend.get_texts()[at] for at in (0, 1 + runs["features"].nunique())]
        for head in heads:
            head.set_fontweight("bold")
    ax.set(xlabel="stability of the weakest segment", ylabel="gap against noise")
    ax.grid()
    number_axis(ax.xaxis)
    number_axis(ax.yaxis)
    steady, clear = (shorten(runs["run"].iloc[runs[name].argmax()], 30) for name in MERITS)
    both = f"{steady} is the most stable and the farthest from noise"
    apart = f"{steady} is the most stable, {clear} the farthest from noise"
    headline(
        figure,
        both if steady == clear else apart,
        f"one mark per run, up and to the right is better; numbered: the first {NUMBERED} answers",
    )
    return figure


@styled
def agreement_heatmap(table: pd.DataFrame) -> Figure | None:
    """Draw the adjusted Rand index between runs; None for fewer than two.

    Parameters
    ----------
    table : DataFrame
        From `segmentation.evaluation.agreement.agreement`.
    """
    if len(table) < 2:
        return None
    names = [shorten(name, 34) for name in table.index]
    left = 0.35 + 0.075 * max(len(name) for name in names)
    figure, ax = single(
        left + 0.75 * len(table) + 0.4, 1.5 + 0.45 * len(table), left=left, bottom=0.4
    )
    plain = table.set_axis(names, axis=0).set_axis(range(1, len(names) + 1), axis=1)
    _heatmap(ax, plain, (plain.round(2) + 0).map("{:.2f}".format), cmap="Blues", low=0, high=1)
    headline(figure, "Do the first answers agree?", "adjusted Rand index, 1: same segments")
    return figure


def _verdict(row: object) -> str:
    structure, confidence = getattr(row, "structure", None), getattr(row, "confidence", None)
    if structure == "no":
        return "no structure"
    return confidence if isinstance(confidence, str) else "untested"


def _marked(runs: pd.DataFrame) -> dict[tuple[float, float], list[str]]:
    """Group the numbers of the first answers by position; close runs share one label."""
    marked: dict[tuple[float, float], list[str]] = {}
    room = [0.04 * float(np.ptp(runs[name])) for name in MERITS]
    first = runs.loc[runs["rank"] <= NUMBERED, ["rank", *MERITS]]
    for place, *at in first.itertuples(index=False, name=None):
        near = (
            spot
            for spot in marked
            if all(abs(a - b) <= r for a, b, r in zip(spot, at, room, strict=True))
        )
        found = marked.setdefault(next(near, (at[0], at[1])), [])
        if str(place) not in found:
            found.append(str(place))
    return marked


def _seaborn() -> Any:
    # Imported late: only the end of a sweep needs seaborn, and it imports pyplot.
    import seaborn

    return seaborn


def _heatmap(
    ax: Axes, table: pd.DataFrame, text: pd.DataFrame, *, cmap: str, low: float, high: float
) -> None:
    _seaborn().heatmap(
        table.astype(float),
        annot=text.to_numpy(),
        fmt="",
        annot_kws={"fontsize": 7.5},
        cmap=cmap,
        vmin=low,
        vmax=high,
        cbar=False,
        ax=ax,
        xticklabels=[shorten(column, 16) for column in table.columns],
        yticklabels=[shorten(row, 40) for row in table.index],
    )
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, labelrotation=0)


@dataclass(frozen=True)
class SweepFigure:
    """A figure of a sweep.

    Attributes
    ----------
    name : str
        The figure is logged as ``figures/NAME.png``.
    draw : callable or None
        Draws the figure from the ranking and the agreement of its first answers; returns None if it
        does not apply. None for the curves, which are drawn separately from every run's table.
    alt : str
        Alternative text for readers who cannot see the figure.
    """

    name: str
    draw: Callable[[pd.DataFrame, pd.DataFrame], Figure | None] | None
    alt: str


#: Every figure of a sweep, in page order.
SWEEP_FIGURES = {
    line.name: line
    for line in (
        SweepFigure(
            "grid",
            lambda ranked, _: grid(ranked),
            "Grid of feature sets by scalings with the best rank, k and confidence of each",
        ),
        SweepFigure(
            "merits",
            lambda ranked, _: merits(ranked),
            "Stability and gap of every run, marked by feature set and scaling",
        ),
        SweepFigure(
            "curves",
            None,
            "Silhouette and WCSS of every answer over the number of segments, with the chosen k",
        ),
        SweepFigure(
            "agreement",
            lambda _, same: agreement_heatmap(same),
            "Grid of the adjusted Rand index between the first answers, 1 where they agree",
        ),
    )
}
