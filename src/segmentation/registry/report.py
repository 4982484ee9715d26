"""The items a promotion logs to its run: tables, figures and one self-contained HTML page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from segmentation.evaluation.formats import percent
from segmentation.registry import gates, versions
from segmentation.registry.aliases import now
from segmentation.registry.assessment import Assessment
from segmentation.registry.likeness import IN_RANGE, JACCARD, SHIFT
from segmentation.reporting.page import Picture, picture, render, sentence
from segmentation.tracking import process
from segmentation.tracking.items import File, LogItem, Table
from segmentation.visualization import migration, to_png

PAGE = "promotion.html"
#: Figure, its alternative text.
FIGURES = {
    "migration": (migration.heatmap, "Customers by segment of the champion and of the challenger"),
    "migration_flow": (migration.flow, "Customers who keep and who change their segment"),
}


def promotion_items(assessed: Assessment, outcome: str, override: str | None) -> list[LogItem]:
    """Return the tables, figures and the page that show how a challenger was assessed.

    Parameters
    ----------
    assessed : Assessment
    outcome : {"passed", "refused", "overridden"}
    override : str or None
        The reason to promote although gates failed.
    """
    tables = {"gates": gates.table(assessed.answers), "lineage": lineage_table(assessed)}
    items: list[LogItem] = []
    pictures: list[Picture] = []
    if assessed.counts is not None:
        tables["migration"] = migration_table(assessed)
        for name, (draw, text) in FIGURES.items():
            png = to_png(draw(assessed.counts, assessed.names))
            items.append(File(f"figures/{name}.png", png))
            pictures.append(picture(png, text))
    items += [Table(f"tables/{name}.json", frame) for name, frame in tables.items()]
    page = render_promotion(assessed, outcome, override, pictures=pictures)
    return [*items, File(PAGE, page.encode())]


def lineage_table(assessed: Assessment) -> pd.DataFrame:
    """Return one row per segment: name, lineage, customers before and now, and the evidence.

    The columns from ``closest`` on compare a new segment with the old one most like it, see
    `segmentation.registry.likeness.Likeness`; ``evidence`` says the same in words.
    """
    counts = assessed.counts
    before = {} if counts is None else counts.sum(axis=1).to_dict()
    after = {} if counts is None else counts.sum(axis=0).to_dict()
    rows = [
        {
            "segment": fate.segment,
            "name": assessed.names[fate.segment],
            "lineage": fate.lineage,
            "was": ", ".join(map(str, fate.was)),
            "customers_before": before.get(fate.segment),
            "customers_now": after.get(fate.segment),
            "closest": None if fate.closest is None else fate.closest.segment,
            "in_range": None if fate.closest is None else fate.closest.in_range,
            "jaccard": None if fate.closest is None else fate.closest.jaccard,
            "distance": None if fate.closest is None else fate.closest.distance,
            "spacing": None if fate.closest is None else fate.closest.spacing,
            "evidence": fate.evidence,
        }
        for fate in assessed.lineage.fates
    ]
    table = pd.DataFrame(rows).sort_values("segment", ignore_index=True)
    whole = dict.fromkeys(("customers_before", "customers_now", "closest"), "Int64")
    numbers = dict.fromkeys(("in_range", "jaccard", "distance", "spacing"), "float64")
    return table.astype({**whole, **numbers})


def migration_table(assessed: Assessment) -> pd.DataFrame:
    """Return one row per pair of segments: ``customers`` and their ``share`` of the first."""
    assert assessed.counts is not None
    rows = []
    for old, row in assessed.counts.iterrows():
        for new, customers in row[row > 0].items():
            rows.append(
                {
                    "from": old,
                    "from_name": assessed.names[int(str(old))],
                    "to": new,
                    "to_name": assessed.names[int(str(new))],
                    "customers": int(customers),
                    "share": float(customers / row.sum()),
                }
            )
    return pd.DataFrame(rows)


def all_new_text(assessed: Assessment) -> str:
    """Say that every segment is new, and why; empty if that is not so or there is no champion."""
    return sentence(f"every segment is new: {assessed.all_new}") if assessed.all_new else ""


def render_promotion(
    assessed: Assessment, outcome: str, override: str | None, *, pictures: list[Picture]
) -> str:
    """Render the page of a promotion; all text from customers and users is escaped.

    Parameters
    ----------
    assessed, outcome, override
        See `promotion_items`.
    pictures : list of Picture
        The migration figures.
    """
    champion = assessed.champion
    against = "no champion yet" if champion is None else f"version {champion.version}"
    meta = {
        "registered model": assessed.name,
        "champion": against,
        "run": f"{assessed.run.info.run_name} ({assessed.run.info.run_id})",
        "assessed": f"{now()} by {process.user()}",
    }
    if outcome == versions.OVERRIDDEN:
        meta["override"] = str(override)
    return render(
        "promotion.html.j2",
        title=f"{assessed.run.info.run_name}: promotion",
        outcome=outcome,
        name=assessed.name,
        against=against,
        numbers=_facts(assessed),
        override=override if outcome == versions.OVERRIDDEN else None,
        all_new=all_new_text(assessed),
        segments=_segment_rows(assessed),
        limits={"in_range": percent(IN_RANGE), "jaccard": f"{JACCARD:g}", "shift": percent(SHIFT)},
        gates=gates.table(assessed.answers).to_dict("records"),
        pictures=pictures,
        meta=meta,
    )


def _facts(assessed: Assessment) -> list[tuple[str, str]]:
    fates = assessed.lineage.fates
    facts = [
        ("gates failed", f"{len(assessed.failed)} of {len(assessed.answers)}"),
        ("segments", str(len(assessed.lineage.ids))),
    ]
    if assessed.champion is not None:
        facts.append(("keep their id", str(sum(fate.kept for fate in fates))))
        facts.append(("ids that end", str(len(assessed.lineage.retired))))
    if assessed.moved is not None:
        facts.append(("customers who change segment", percent(assessed.moved)))
    return facts


def _segment_rows(assessed: Assessment) -> list[dict[Any, Any]]:
    rows = lineage_table(assessed).to_dict("records")
    for row in rows:
        for key in ("customers_before", "customers_now"):
            row[key] = "" if pd.isna(row[key]) else f"{row[key]:,}"
    return rows
