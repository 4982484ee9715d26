"""The segments in a report: one card per segment, and a table that compares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.evaluation.formats import in_units, percent
from segmentation.profiling.profiles import Line, lines_by
from segmentation.visualization.scales import signed
from segmentation.visualization.style import segment_color

if TYPE_CHECKING:
    from segmentation.profiling.segments import Segment
    from segmentation.result import SegmentationResult

#: Features shown on a card; the table below the cards lists all of them.
CARD_FEATURES = 6
#: Values of a category shown in the comparison; tables/profile.json has all of them.
COMPARED_CATEGORIES = 8
#: Columns shown for the typical customers on a card.
TYPICAL_COLUMNS = 5
#: Standard deviations that fill half of a card's bar.
FULL_BAR = 2.0


def cards(result: SegmentationResult, *, show_customers: bool) -> list[dict[str, Any]]:
    """Collect what the card of each segment shows."""
    clustered = set(result.features.columns)
    # Skip a feature in segments where no customer has a value for it.
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
    """Return the rule of a segment, one line per branch, with its quality."""
    if result.rules is None:
        return None
    rule = result.rules.rules[segment]
    return {"ways": rule.ways, "quality": rule.quality}


def _typical(result: SegmentationResult) -> dict[int, list[tuple[str, list[str]]]]:
    """Return, by segment, the medoid and the customers nearest to the centre.

    Each customer is an id and its values in the first `TYPICAL_COLUMNS` columns.
    """
    shown = result.typical[result.typical["kind"] != "borderline"]
    rows = shown["row"].to_numpy()
    names = result.features.described[:TYPICAL_COLUMNS]
    columns = [result.customers.column(name).iloc[rows].tolist() for name in names]
    ids = result.customers.ids.iloc[rows].astype(str).tolist()
    customers: dict[int, list[tuple[str, list[str]]]] = {}
    for segment, customer, *values in zip(shown["segment"].tolist(), ids, *columns, strict=True):
        texts = [value if isinstance(value, str) else in_units(float(value)) for value in values]
        customers.setdefault(segment, []).append((customer, texts))
    return customers


def _card_row(lines: Iterable[Line], clustered: set[str]) -> dict[str, Any]:
    """Return one feature of one segment; for a category, the value that stands out most."""
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
    """Format an effect with its interval, ``d +1.9 (+1.6 to +2.2)``; empty if undefined."""
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
    """Describe the features that stand out; `rows` are ordered strongest first."""
    said = [
        f"{row['feature']} {row['value']} (all customers: {row['all']})"
        for row in rows
        if row["size"] >= 0.5
    ]
    return "; ".join(said[:3]) or "close to the average customer in every feature"


def comparison(result: SegmentationResult) -> list[tuple[str, bool, str, list[str]]]:
    """Compare every feature across segments: label, clustered on, all customers, per segment."""
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
    """Return the largest distance of a segment from the average; 0 if none is known."""
    return float(max((abs(line["z"]) for line in lines if np.isfinite(line["z"])), default=0))


def _everybody(line: Line) -> str:
    """Format the median, or share, of all customers."""
    value = line["everybody"]
    return in_units(value) if _category(line) is None else percent(value)


def _category(line: Line) -> str | None:
    return line["category"] if isinstance(line["category"], str) else None


def between(segment: Segment) -> str:
    """Format the interval of a segment's share: ``14 to 23 %``."""
    low = percent(segment.share_low).rstrip("% \N{NO-BREAK SPACE}")
    return f"{low} to {percent(segment.share_high)}"
