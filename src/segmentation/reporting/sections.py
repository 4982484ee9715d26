"""The sections of a run's report. To add one, add a line to `SECTIONS`.

A section shows the figures whose line in `FIGURES` names it, below the paragraphs in the ``text``
of its content, if any. A section that shows more has its own template in ``templates/sections``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.evaluation.metrics import ANY, METRICS, REPORT
from segmentation.features.scaling import SCALINGS
from segmentation.reporting.cards import TYPICAL_COLUMNS, cards, comparison
from segmentation.reporting.page import sentence
from segmentation.selection.evidence import CRITERIA, Criterion

if TYPE_CHECKING:
    from segmentation.evaluation.metrics import Fit, Metric
    from segmentation.result import SegmentationResult


@dataclass(frozen=True)
class Section:
    """A section of a run's report.

    Attributes
    ----------
    name : str
        Name that the lines of `FIGURES` refer to.
    title : str
    content : callable, optional
        Takes the result and whether single customers may be shown; returns the variables of
        `template`. A section without content appears only if it has figures.
    template : str
        File in ``templates/sections``.
    title_of_one : str
        Title used when there is only one segment.
    """

    name: str
    title: str
    content: Callable[[SegmentationResult, bool], dict[str, Any]] | None = None
    template: str = "plain.html.j2"
    title_of_one: str = ""


def _segments(result: SegmentationResult, show_customers: bool) -> dict[str, Any]:
    return {
        "k": result.k,
        "cards": cards(result, show_customers=show_customers),
        "columns": result.features.described[:TYPICAL_COLUMNS],
        "rules": result.rules,
        "comparison": comparison(result) if result.k > 1 else None,
    }


def _choice(result: SegmentationResult, _: bool) -> dict[str, Any]:
    return {
        "k": result.k,
        "rule": result.choice.rule,
        "verdict": sentence(result.choice.verdict),
        "k_table": _k_table(result),
    }


def _k_columns() -> dict[str, Metric[Fit] | Criterion]:
    """Return the possible columns of the table over k: metrics, criteria, sizes."""
    metrics = {name: each for name, each in METRICS.items() if each.shown >= REPORT}
    of_fit = {name: each for name, each in metrics.items() if each.scope != ANY}
    return {**of_fit, **{n: c for n, c in CRITERIA.items() if n not in METRICS}, **metrics}


def _k_table(result: SegmentationResult) -> dict[str, Any]:
    """Return the numbers of every k and the criteria that pick it."""
    table = result.curve
    if result.choice.evidence is not None:
        evidence = result.choice.evidence.table
        table = table.join(evidence[[name for name in evidence if name not in table]])
    columns = {
        name: each
        for name, each in _k_columns().items()
        if name in table and table[name].notna().any()
    }
    rows = []
    for k, line in zip(table.index, table[[*columns]].to_numpy(dtype=float), strict=True):
        cells = [
            each.format(float(value)) if np.isfinite(value) else "–"
            for each, value in zip(columns.values(), line, strict=True)
        ]
        named = [
            CRITERIA[name].label if name in CRITERIA else name
            for name, pick in result.choice.picks.items()
            if pick == k
        ]
        rows.append({"k": int(k), "cells": cells, "named": ", ".join(named)})
    heads = [each.label for each in columns.values()]
    return {"heads": heads, "rows": rows, "named": bool(result.choice.picks)}


def _data(result: SegmentationResult, _: bool) -> dict[str, Any]:
    features = result.features
    gaps = [(n, int(result.customers.column(n).isna().sum())) for n in features.profile or ()]
    facts = [
        ("source", result.customers.source),
        ("customers", f"{result.customers.population:,}"),
        ("SHA-256", result.customers.digest),
        ("clustered on", ", ".join(features.columns)),
        ("log(1 + x) of", ", ".join(features.log1p)),
        ("weights", ", ".join(f"{name} {weight:g}" for name, weight in features.weights.items())),
        ("described only", ", ".join(features.profile or ())),
        ("missing values in these", ", ".join(f"{name} {n:,}" for name, n in gaps if n)),
        ("not described", ", ".join(f"{name} ({why})" for name, why in features.left_out.items())),
        ("scaling", _scaling(result.scaling)),
    ]
    return {
        "facts": [(label, text) for label, text in facts if text],
        "notes": result.customers.notes,
    }


def _scaling(name: str) -> str:
    return f"{name}: {SCALINGS[name].description}" if name in SCALINGS else name


#: The sections in report order; figures of an unknown section go into the last one.
SECTIONS = {
    section.name: section
    for section in (
        Section(
            "segments",
            "The segments",
            _segments,
            "segments.html.j2",
            title_of_one="The customers",
        ),
        Section("features", "Which features matter"),
        Section("stability", "How well the segments hold"),
        Section("choice", "How k was chosen", _choice, "choice.html.j2"),
        Section("data", "The data", _data, "data.html.j2"),
    )
}
