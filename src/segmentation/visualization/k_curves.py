"""Curves over k: WCSS, silhouette and the criteria, with the chosen k marked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segmentation.evaluation.formats import percent
from segmentation.selection.evidence import CRITERIA
from segmentation.visualization.scales import k_axis, number_axis
from segmentation.visualization.style import (
    INK,
    MARK,
    MUTED,
    RULE,
    headline,
    panels,
    single,
    styled,
)

LINE = "#0072b2"
BAND = "#b9c4cf"


@styled
def elbow(curve: pd.DataFrame, k: int, *, structure: bool | None = None) -> Figure:
    """Draw WCSS over k with the chosen k marked.

    Parameters
    ----------
    curve : DataFrame
        Indexed by k; column ``wcss``, optionally ``explained_variance`` and ``wcss_worst_start``
        (drawn as a band between the best and the worst start).
    k : int
        The chosen number of segments.
    structure : bool, optional
        Whether the data were found to have cluster structure.
    """
    figure, ax = single(7.2, 3.9, left=0.85)
    ks, wcss = list(curve.index), curve["wcss"]
    note = "within-cluster sum of squares (WCSS) in the scaled space"
    if "wcss_worst_start" in curve:
        worst = curve["wcss_worst_start"].fillna(wcss)
        if bool((worst > wcss * 1.001).any()):
            ax.fill_between(ks, wcss, worst, color=BAND, alpha=0.7, linewidth=0)
            note += "; grey: up to the worst single start"
    ax.plot(ks, wcss, color=LINE, marker="o")
    ax.set_ylim(0, float(wcss.max()) * 1.15 or 1)
    number_axis(ax.yaxis)
    k_axis(ax, ks)
    _mark(ax, k, float(wcss[k]))
    ax.set_xlabel("number of segments k")
    ax.set_ylabel("WCSS")
    ax.grid(axis="y")
    explained = curve.get("explained_variance")
    if k == 1:
        none_found = "No cluster structure found: k = 1"
        finding = none_found if structure is False else "One segment explains no variance"
    elif explained is not None and np.isfinite(explained[k]):
        finding = f"{k} segments explain {percent(float(explained[k]))} of the variance"
    else:
        finding = f"{k} segments"
    headline(figure, finding, note)
    return figure


@styled
def silhouette_curve(curve: pd.DataFrame, k: int) -> Figure | None:
    """Draw the mean silhouette over k; None if no k has a silhouette.

    Parameters
    ----------
    curve : DataFrame
        Indexed by k; column ``silhouette``, and ``silhouette_se`` if it was computed on a sample.
    k : int
        The chosen number of segments.
    """
    silhouette = curve["silhouette"].dropna()
    if silhouette.empty:
        return None
    figure, ax = single(7.2, 3.6)
    ks = list(silhouette.index)
    note = "mean silhouette of the customers; 1: well inside a segment, 0: between two"
    if "silhouette_se" in curve:
        error = curve["silhouette_se"].reindex(ks)
        if error.notna().any():
            ax.fill_between(
                ks, silhouette - 2 * error, silhouette + 2 * error, color=BAND, linewidth=0
            )
            note += "; grey: ± 2 standard errors of the sample"
    ax.plot(ks, silhouette, color=LINE, marker="o")
    ax.set_ylim(min(0.0, float(silhouette.min()) * 1.1), max(0.1, float(silhouette.max()) * 1.22))
    number_axis(ax.yaxis)
    k_axis(ax, list(curve.index))
    best = ks[int(silhouette.argmax())]
    top = f"k = {best} ({silhouette[best]:.2f})"
    if k in silhouette.index:
        _mark(ax, k, float(silhouette[k]))
        own = f"k = {k} ({silhouette[k]:.2f})"
        finding = (
            f"The silhouette is highest at the chosen {own}"
            if k == best
            else f"The silhouette is highest at {top}; chosen {own}"
        )
    else:
        finding = f"The silhouette is highest at {top}; chosen k = {k}"
        finding += " has no silhouette" if k == 1 else " has no defined silhouette"
    ax.set_xlabel("number of segments k")
    ax.set_ylabel("mean silhouette")
    ax.grid(axis="y")
    headline(figure, finding, note)
    return figure


@styled
def criteria(
    table: pd.DataFrame,
    picks: Mapping[str, int],
    k: int,
    *,
    bands: Mapping[str, tuple[pd.Series, pd.Series]] | None = None,
) -> Figure | None:
    """Draw every criterion over k in its own panel, with the k it picks marked.

    Parameters
    ----------
    table : DataFrame
        Indexed by k, one column per criterion, optionally ``<criterion>_se`` (drawn as error
        bars); NaN where a criterion is undefined.
    picks : mapping of criterion to k
        The k that each criterion picks. If empty (no structure), all criteria are drawn.
    k : int
        The chosen number of segments, drawn as a vertical line in every panel.
    bands : mapping of criterion to (low, high)
        Range of the criterion on data without clusters, two Series indexed by k.

    Returns
    -------
    Figure or None
        None if no criterion has a value.
    """
    asked = list(picks) or list(CRITERIA)
    names = [name for name in asked if name in table and table[name].notna().any()]
    if not names:
        return None
    figure, axes = panels(
        len(names), 3, size=(2.35, 1.5), gap=(0.62, 0.78), left=0.65, top=1.1, bottom=0.5
    )
    ks = list(table.index)
    for name, ax in zip(names, axes, strict=True):
        values = table[name].dropna()
        if bands and name in bands:
            low, high = (edge.reindex(ks) for edge in bands[name])
            ax.fill_between(ks, low, high, color=BAND, linewidth=0)
        error = table.get(f"{name}_se")
        if error is not None:
            ax.errorbar(
                values.index,
                values,
                yerr=error.reindex(values.index).fillna(0),
                color=MUTED,
                elinewidth=1,
                linewidth=0,
            )
        ax.axvline(k, color=RULE, linewidth=5, zorder=0.5)
        ax.plot(values.index, values, color=LINE, marker="o", markersize=3.5, linewidth=1.4)
        pick = picks.get(name)
        if pick is not None and pick in values.index:
            ax.plot(pick, values[pick], marker="o", markersize=9, color=MARK, fillstyle="none")
        title = _title(name)
        ax.set_title(title if pick is None else f"{title}: k = {pick}", pad=5)
        number_axis(ax.yaxis, 4)
        k_axis(ax, ks)
        if len(ks) > 8:
            ax.set_xticks([value for value in ks if value % 2 == 0])
    for ax in axes[-min(3, len(axes)) :]:
        ax.set_xlabel("k")
    agreeing = sum(int(pick) == k for pick in picks.values())
    note = "grey line: the chosen k"
    if picks:
        note = "ring: the k each criterion picks; " + note
    if bands:
        note += "; grey band: data without clusters"
    finding = f"{agreeing} of {len(picks)} criteria pick k = {k}"
    headline(figure, finding if picks else "No cluster structure found: k = 1", note)
    return figure


def _title(criterion: str) -> str:
    """Return the label of a criterion, with a note if low values are good."""
    if criterion not in CRITERIA:
        return criterion.replace("_", " ")
    line = CRITERIA[criterion]
    return f"{line.label} (low is good)" if line.better == "lower" else line.label


def _mark(ax: Axes, k: int, value: float) -> None:
    """Draw a ring on the curve and a vertical line at the chosen k."""
    ax.axvline(k, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0.8)
    ax.plot(k, value, marker="o", markersize=11, color=MARK, fillstyle="none", markeredgewidth=1.6)
    left, right = ax.get_xlim()
    late = k > (left + right) / 2
    # Put the label at the top, above a falling WCSS and any silhouette.
    ax.annotate(
        f"chosen k = {k}",
        (k, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if late else 6, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        va="top",
        color=INK,
        fontweight="bold",
    )
