"""One self-contained HTML page of a run: the answer first, then how it came about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.evaluation.formats import in_units, percent
from segmentation.profiling.exemplars import BORDERLINE
from segmentation.profiling.profiles import Line, lines_by
from segmentation.reporting.page import Picture, picture, render, sentence
from segmentation.visualization.scales import signed
from segmentation.visualization.style import segment_color

if TYPE_CHECKING:
    from segmentation.result import SegmentationResult

#: Features a card shows; the table below the cards has all of them.
CARD_FEATURES = 6
#: Values of a category that stand side by side; tables/profile.json has all.
COMPARED_CATEGORIES = 8
#: Columns of the typical customers a card shows.
TYPICAL_COLUMNS = 5
#: Standard deviations that fill half of a card's bar.
FULL_BAR = 2.0

#: Where a figure stands and what it shows, for readers who do not see it; one that is not named
#: here comes last, under its own name.
FIGURE_PLACES: dict[str, tuple[str, str]] = {
    "segment_map": ("who", "Map of the customers, coloured by segment, with numbered centres"),
    "segment_sizes": ("who", "Bars of the number of customers in each segment"),
    "rules": ("rules", "Range of each feature that tells each segment, with how well it does"),
    "feature_importance": ("matter", "Bars of each feature's share of the segments' difference"),
    "profile_heatmap": ("who", "Grid of each segment's mean of each feature, in deviations"),
    "pair_plot": ("who", "Customers in every pair of features, coloured by segment"),
    "silhouette_plot": ("sure", "Silhouette of every customer, sorted within each segment"),
    "stability": ("sure", "Bars of how well each segment returns when customers are resampled"),
    "criteria": ("choice", "Each criterion over the number of segments, with the k it names"),
    "elbow": ("choice", "Within-cluster sum of squares over the number of segments"),
    "silhouette_curve": ("choice", "Mean silhouette over the number of segments"),
    "clustergram": ("choice", "How clusters split as the number of segments grows"),
    "distributions": ("data", "Histogram or bars of every column of the customers"),
}

#: Columns of the table over k: heading and how a number is written.
K_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "wcss": ("WCSS", in_units),
    "explained_variance": ("explained variance", percent),
    "silhouette": ("silhouette", lambda value: f"{value:.3f}"),
    "calinski_harabasz": ("Calinski-Harabasz", lambda value: f"{value:.1f}"),
    "davies_bouldin": ("Davies-Bouldin", lambda value: f"{value:.3f}"),
    "icl": ("ICL", lambda value: f"{value:,.0f}"),
    "gap": ("gap", lambda value: f"{value:.3f}"),
    "prediction_strength": ("prediction strength", lambda value: f"{value:.2f}"),
    "smallest_share": ("smallest segment", percent),
    "largest_share": ("largest segment", percent),
}


def render_report(
    result: SegmentationResult,
    *,
    figures: Mapping[str, bytes],
    meta: Mapping[str, str],
    show_customers: bool = True,
) -> str:
    """The report as one HTML page that loads nothing.

    Parameters
    ----------
    result : SegmentationResult
    figures : mapping of str to bytes
        PNG files by the names of `segmentation.visualization.FIGURES`.
    meta : mapping of str to str
        How the run came about (run name, command, versions, ...), listed as given; ``run`` is the
        page's title and ``command`` is set as code.
    show_customers : bool
        Also single customers by id: those typical of each segment.

    Returns
    -------
    str
        Text from the customers' file is escaped.
    """
    rooms = ("who", "rules", "matter", "sure", "choice", "data")
    places: dict[str, list[Picture]] = {room: [] for room in rooms}
    ordered = [name for name in FIGURE_PLACES if name in figures]
    for name in [*ordered, *(name for name in figures if name not in FIGURE_PLACES)]:
        place, text = FIGURE_PLACES.get(name, ("data", name.replace("_", " ")))
        places[place].append(picture(figures[name], text))
    warning = result.importance.warning if result.importance else None
    return render(
        "report.html.j2",
        title=meta.get("run", f"{result.features.name}·{result.scaling}·k{result.k}"),
        verdict=sentence(result.choice.verdict),
        numbers=_facts(result),
        sureness=_sureness(result),
        careful=sentence(warning) if warning else "",
        cards=_cards(result, show_customers=show_customers),
        columns=result.features.described[:TYPICAL_COLUMNS],
        rules=result.rules,
        comparison=_comparison(result) if result.k > 1 else None,
        k_table=_k_table(result),
        rule=result.choice.rule,
        data=_data(result),
        notes=result.customers.notes,
        figures=places,
        meta=meta,
        k=result.k,
    )


def _points(share: float) -> str:
    """A share without its sign, for the lower end of a range."""
    return percent(share).rstrip("% \N{NO-BREAK SPACE}")


def _facts(result: SegmentationResult) -> list[tuple[str, str]]:
    """The few numbers of the run, as (label, value)."""
    chosen = result.curve.loc[result.k].to_dict()
    facts = [
        ("customers", f"{result.customers.population:,}"),
        ("segments", str(result.k) if result.k > 1 else "none"),
    ]
    if result.k > 1:
        facts.append(("variance explained", percent(float(chosen["explained_variance"]))))
        if np.isfinite(chosen["silhouette"]):
            facts.append(("mean silhouette", f"{chosen['silhouette']:.2f}"))
    if result.confidence is not None:
        facts.append(("confidence", result.confidence))
    if result.stability is not None:
        facts.append(("weakest segment's stability", f"{min(result.stability.jaccard):.2f}"))
    return facts


def _sureness(result: SegmentationResult) -> list[str]:
    """How sure the answer is, in sentences."""
    said: list[str] = []
    evidence = result.choice.evidence
    if result.structure is None:
        said.append(
            "Whether these customers fall into groups at all was not tested: K-Means cuts any data "
            "into as many segments as it is asked for. choice=evidence tests it."
        )
    elif not result.structure:
        said.append(
            "Segments cut from these customers would be slices of one group: treat them as one, or "
            "try other features or another scaling."
        )
    elif evidence is not None:
        said.append(sentence(f"Groups were found: {evidence.gate.reason}"))
    if result.confidence == "contested":
        said.append("The criteria disagree on the number of segments: read it as one of several.")
    if result.stability is not None:
        for segment, status in zip(result.segments, result.stability.status, strict=True):
            if status in ("dissolved", "doubtful"):
                said.append(
                    f"Segment {segment.id} ({segment.name}) is {status} when the customers are "
                    "resampled: build nothing on it alone."
                )
        if all(status in ("stable", "very stable") for status in result.stability.status):
            said.append("Every segment returns when the customers are resampled.")
    if not result.silhouettes.empty:
        share = float((result.silhouettes["silhouette"] < BORDERLINE).mean())
        said.append(f"{percent(share)} of the customers lie between two segments.")
    return said


def _cards(result: SegmentationResult, *, show_customers: bool) -> list[dict[str, Any]]:
    """What a reader sees of each segment."""
    clustered = set(result.features.columns)
    # A segment none of whose customers has a value is not told of in it.
    known = lines_by(result.profile[result.profile["z"].notna()], "segment", "feature")
    rows_of: list[list[dict[str, Any]]] = [[] for _ in result.segments]
    for (segment_id, _), lines in known.items():
        rows_of[segment_id].append(_card_row(lines, clustered))
    typical = _typical(result) if show_customers else {}
    cards = []
    for segment in result.segments:
        rows = sorted(rows_of[segment.id], key=lambda row: -row["size"])
        status = result.stability.status[segment.id] if result.stability else None
        cards.append(
            {
                "id": segment.id,
                "name": segment.name,
                "color": segment_color(segment.id),
                "size": f"{segment.size:,}",
                "share": percent(segment.share),
                "between": f"{_points(segment.share_low)} to {percent(segment.share_high)}",
                "silhouette": None if segment.silhouette is None else f"{segment.silhouette:.2f}",
                "borderline": segment.borderline and percent(segment.borderline),
                "stability": status,
                "rule": _rule(result, segment.id),
                "rows": rows[:CARD_FEATURES],
                "left_out": max(len(rows) - CARD_FEATURES, 0),
                "telling": _telling(rows) if result.k > 1 else "",
                "typical": typical.get(segment.id, []),
            }
        )
    return cards


def _rule(result: SegmentationResult, segment: int) -> dict[str, Any] | None:
    """How to recognise a segment: one line a way, and how well that does."""
    if result.rules is None:
        return None
    rule = result.rules.rules[segment]
    return {"ways": rule.ways, "quality": rule.quality}


def _typical(result: SegmentationResult) -> dict[int, list[tuple[str, list[str]]]]:
    """By segment the medoid and the customers nearest to the centre: id and values of the first
    columns.
    """
    shown = result.typical[result.typical["kind"] != "borderline"]
    rows = shown["row"].to_numpy()
    names = result.features.described[:TYPICAL_COLUMNS]
    columns = [result.customers.column(name).iloc[rows].tolist() for name in names]
    ids = result.customers.ids.iloc[rows].astype(str).tolist()
    customers: dict[int, list[tuple[str, list[str]]]] = {}
    for segment, customer, *values in zip(shown["segment"].tolist(), ids, *columns, strict=True):
        told = [value if isinstance(value, str) else in_units(float(value)) for value in values]
        customers.setdefault(segment, []).append((customer, told))
    return customers


def _card_row(lines: Iterable[Line], clustered: set[str]) -> dict[str, Any]:
    """One feature of one segment; of a category the value that stands out most."""
    line = max(lines, key=lambda line: abs(line["z"]))
    feature, category, z = line["feature"], _category(line), line["z"]
    bar = min(abs(z) / FULL_BAR, 1) * 50
    return {
        "feature": feature if category is None else f"{feature}: {category}",
        "value": percent(line["share"]) if category else in_units(line["median"]),
        "middle": "" if category else f"{in_units(line['q25'])} – {in_units(line['q75'])}",
        "all": _everybody(line),
        "effect": _effect(line),
        "size": round(abs(z), 9),
        "bar_left": f"{50 if z >= 0 else 50 - bar:.1f}",
        "bar_width": f"{bar:.1f}",
        "higher": z >= 0,
        "clustered": feature in clustered,
    }


def _effect(line: Line) -> str:
    """The effect and its interval: ``d +1.9 (+1.6 to +2.2)``; empty where it is not defined."""
    effect, low, high = (line[end] for end in ("effect", "effect_low", "effect_high"))
    if not np.isfinite(effect):
        return ""
    d = line["measure"] == "Cohen's d"
    text = f"d {signed(effect)}" if d else f"V {effect:.1f}"
    if not np.isfinite(low):
        return text
    ends = (signed(low), signed(high)) if d else (f"{low:.1f}", f"{high:.1f}")
    return f"{text} ({ends[0]} to {ends[1]})"


def _telling(rows: Iterable[Mapping[str, Any]]) -> str:
    """The features that stand out, in words; rows come strongest first."""
    said = [
        f"{row['feature']} {row['value']} (all customers: {row['all']})"
        for row in rows
        if row["size"] >= 0.5
    ]
    return "; ".join(said[:3]) or "close to the average customer in everything"


def _comparison(result: SegmentationResult) -> list[tuple[str, bool, str, list[str]]]:
    """Every feature across all segments: label, clustered on or not, all customers, segments."""
    rows = []
    for (feature,), lines in lines_by(result.profile, "feature").items():
        is_clustered = feature in result.features.columns
        by_category: dict[str | None, list[Line]] = {}
        for line in lines:
            by_category.setdefault(_category(line), []).append(line)
        telling = sorted(by_category, key=lambda category: -_most(by_category[category]))
        kept = telling[:COMPARED_CATEGORIES]
        for category, own in by_category.items():
            if category not in kept:
                continue
            words = category is not None
            values = [percent(x["share"]) if words else in_units(x["median"]) for x in own]
            label = f"{feature}: {category}" if words else feature
            rows.append((label, is_clustered, _everybody(own[0]), values))
        if len(kept) < len(by_category):
            more = len(by_category) - len(kept)
            label = f"{feature}: {more} other values differ less"
            rows.append((label, is_clustered, "", [""] * result.k))
    return rows


def _most(lines: Iterable[Line]) -> float:
    """How far the segment farthest from the average is from it; 0 where none is known."""
    return float(max((abs(line["z"]) for line in lines if np.isfinite(line["z"])), default=0))


def _everybody(line: Line) -> str:
    """Median or share of all customers."""
    value = line["everybody"]
    return in_units(value) if _category(line) is None else percent(value)


def _category(line: Line) -> str | None:
    return line["category"] if isinstance(line["category"], str) else None


def _k_table(result: SegmentationResult) -> dict[str, Any]:
    """The numbers of every k, and which criteria name it."""
    table = result.curve
    if result.choice.evidence is not None:
        evidence = result.choice.evidence.table
        table = table.join(evidence[[name for name in evidence if name not in table]])
    columns = [name for name in K_COLUMNS if name in table and table[name].notna().any()]
    rows = []
    for k, line in zip(table.index, table[columns].to_numpy(dtype=float), strict=True):
        cells = [
            K_COLUMNS[name][1](float(value)) if np.isfinite(value) else "–"
            for name, value in zip(columns, line, strict=True)
        ]
        named = [
            K_COLUMNS[name][0] if name in K_COLUMNS else name
            for name, pick in result.choice.picks.items()
            if pick == k
        ]
        rows.append({"k": int(k), "cells": cells, "named": ", ".join(named)})
    heads = [K_COLUMNS[name][0] for name in columns]
    return {"heads": heads, "rows": rows, "named": bool(result.choice.picks)}


def _data(result: SegmentationResult) -> list[tuple[str, str]]:
    features = result.features
    gaps = [(n, int(result.customers.column(n).isna().sum())) for n in features.profile or ()]
    told = [
        ("source", result.customers.source),
        ("customers", f"{result.customers.population:,}"),
        ("SHA-256", result.customers.digest),
        ("clustered on", ", ".join(features.columns)),
        ("log(1 + x) of", ", ".join(features.log1p)),
        ("weights", ", ".join(f"{name} {weight:g}" for name, weight in features.weights.items())),
        ("described only", ", ".join(features.profile or ())),
        ("of these without a value", ", ".join(f"{name} {n:,}" for name, n in gaps if n)),
        ("not described", ", ".join(f"{name} ({why})" for name, why in features.left_out.items())),
        ("scaling", result.scaling),
    ]
    return [(label, text) for label, text in told if text]
