"""The self-contained HTML page of a sweep: the answer to its question, the ranking, every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from segmentation.evaluation import agreement
from segmentation.evaluation.formats import percent
from segmentation.evaluation.metrics import ANY, OWN, REFERENCE, TABLE
from segmentation.experiments import ranking
from segmentation.experiments.advice import advice
from segmentation.experiments.ranking_order import CRITERIA
from segmentation.reporting.page import picture, render, sentence
from segmentation.tracking.run_metrics import RUN_METRICS, columns
from segmentation.visualization.style import segment_color
from segmentation.visualization.sweep_grid import SWEEP_FIGURES

#: Settings listed for each run if the runs differ in them: heading by column of the ranking.
SETTINGS = {
    "features": "features",
    "scaling": "scaling",
    "seed": "seed",
    "choice": "choice",
    "k_min": "k.min",
    "k_max": "k.max",
    "engine": "engine",
    "effort": "effort",
    "data": "data",
}


#: Groups of the ranking's columns by comparability, with their headings.
GROUPS = {
    "fair": "comparable, used for the ranking",
    "any": "comparable, not used for the ranking",
    "own": "not comparable between features or scalings",
    "one": "ref.: in one space for all runs",
}
#: Columns that contain words: heading by name.
WORDS = {"structure": "structure", "confidence": "confidence in k"}
_GROUP = {ANY: "any", OWN: "own", REFERENCE: "one"}


def _columns(ranked: pd.DataFrame) -> list[tuple[str, str, str, Callable[[Any], str]]]:
    """Return the non-empty columns of the ranking: group, name, heading, format of a value."""
    numbers = {column.name: column for column in columns(TABLE)}
    heads: dict[str, tuple[str, Callable[[Any], str]]] = {
        **{name: (heading, str) for name, heading in WORDS.items()},
        **{name: (c.metric.label, c.metric.format) for name, c in numbers.items()},
    }
    found = [
        ("fair" if name in CRITERIA else _GROUP[numbers[name].scope], name, *how)
        for name, how in heads.items()
        if ranked[name].notna().any()
    ]
    return sorted(found, key=lambda column: [*GROUPS].index(column[0]))


@dataclass(frozen=True)
class Place:
    """Where a run can be viewed.

    Attributes
    ----------
    report : str
        Address of its report page relative to the sweep's page; "" unless both are files.
    run : str
        Address of the run in the MLflow UI.
    """

    report: str
    run: str


def render_sweep_report(
    ranked: pd.DataFrame,
    same: pd.DataFrame,
    *,
    question: str,
    total: int,
    segments: pd.DataFrame | None,
    figures: Mapping[str, bytes],
    places: Mapping[str, Place],
    meta: Mapping[str, str],
) -> str:
    """Render the page as HTML that loads nothing; text from configs and data is escaped.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`, best first; at least one run.
    same : DataFrame
        From `segmentation.evaluation.agreement.agreement`.
    question : str
        The question of the sweep; may be empty.
    total : int
        Number of configurations of the sweep, finished or not.
    segments : DataFrame or None
        The table ``segments`` of the first run.
    figures : mapping of str to bytes
        PNG files by the names of `segmentation.visualization.sweep_grid.SWEEP_FIGURES`.
    places : mapping of str to `Place`
        By run id.
    meta : mapping of str to str
        Listed at the end; ``run`` is also the page's title, ``command`` is formatted as code.
    """
    first = ranked.iloc[0]
    shown = _columns(ranked)
    widths = Counter(group for group, *_ in shown)
    varied = [name for name in SETTINGS if ranked[name].nunique(dropna=False) > 1]
    runs = ranked.to_dict("records")
    return render(
        "sweep.html.j2",
        title=meta.get("run", "sweep"),
        question=question[:1].upper() + question[1:],
        answer=_answer(ranked),
        numbers=_facts(ranked, total),
        why=ranking.why_first(ranked),
        segments=_segments(segments),
        segmented=first["run"],
        careful=_careful(ranked, total),
        sureness=_sureness(ranked, same),
        groups=[(group, heading, widths[group]) for group, heading in GROUPS.items()],
        heads=[(group, heading) for group, _, heading, _ in shown],
        rows=[
            _row(run, place, shown, varied)
            for run, place in zip(runs, ranking.places(ranked), strict=True)
        ],
        notes=advice(ranked),
        figures=[
            picture(figures[name], line.alt)
            for name, line in SWEEP_FIGURES.items()
            if name in figures
        ],
        varied=[SETTINGS[name] for name in varied],
        places=places,
        meta=meta,
    )


def _answer(ranked: pd.DataFrame) -> str:
    """Describe the first run and its result in one sentence."""
    first, n = ranked.iloc[0], len(ranked)
    if n > 1 and (ranked["structure"] == "no").all():
        return f"None of the {n} runs found cluster structure: treat the customers as one group."
    answers = int(ranked["same_as"].isna().sum())
    among = f"{n} runs" if answers == n else f"{answers} answers in {n} runs"
    who = f"{first['run']} comes first of {among}" if n > 1 else f"{first['run']} is the only run"
    if first["structure"] == "no":
        return f"{who}: no cluster structure found."
    segments = f"{first['k']} segments"
    if first["structure"] == "untested":
        return f"{who}: {segments}, structure untested."
    agreed = "agreed by its criteria" if first["confidence"] == "agreed" else "a contested number"
    return f"{who}: {segments}, {agreed}."


def _facts(ranked: pd.DataFrame, total: int) -> list[tuple[str, str]]:
    first = ranked.iloc[0]
    facts = [("runs finished", f"{len(ranked)} of {total}")]
    if len(ranked) > 1:
        facts.append(("distinct answers", str(ranked["same_as"].isna().sum())))
    facts.append(("segments", str(first["k"])))
    words = {"yes": "found", "no": "none", "untested": "untested"}
    facts.append(("structure", words[first["structure"]]))
    if isinstance(first["confidence"], str):
        facts.append(("confidence", first["confidence"]))
    labels = {"stability": "weakest segment's stability", "gap": "gap against noise"}
    for name, label in labels.items():
        if np.isfinite(first[name]):
            facts.append((label, RUN_METRICS[name].format(first[name])))
    return facts


def _segments(table: pd.DataFrame | None) -> list[dict[str, str]]:
    """Return the first run's segments, unless it has only one."""
    if table is None or len(table) < 2:
        return []
    return [
        {
            "id": str(row["segment"]),
            "color": segment_color(int(row["segment"])),
            "name": str(row["name"]),
            "size": f"{row['customers']:,}",
            "share": percent(row["share"]),
        }
        for row in table.to_dict("records")
    ]


def _careful(ranked: pd.DataFrame, total: int) -> list[str]:
    said = []
    careful = ranked["careful"].iloc[0]
    if isinstance(careful, str):
        said.append(sentence(careful))
    if len(ranked) < total:
        said.append(
            f"Only {len(ranked)} of {total} runs finished, and only these are ranked. "
            "Run the same command again to fit the rest."
        )
    return said


def _sureness(ranked: pd.DataFrame, same: pd.DataFrame) -> list[str]:
    """Describe how certain the first place is and whether the runs agree."""
    first, n = ranked.iloc[0], len(ranked)
    said = []
    if first["structure"] == "untested":
        said.append(
            "Cluster structure was not tested: K-Means divides any data into as many segments as "
            "requested. choice=evidence tests whether these customers fall into groups at all."
        )
    if first["confidence"] == "contested":
        said.append("Its criteria disagree on the number of segments: others are plausible too.")
    if n > 1:
        with_structure = ranked[ranked["structure"] == "yes"]
        if (ranked["structure"] != "untested").any():
            said.append(f"{len(with_structure)} of {n} runs found cluster structure.")
        found = Counter(with_structure["k"]).most_common()
        if len(found) > 1:
            runs = ", ".join(f"{k} segments in {count}" for k, count in found)
            said.append(f"They differ in the number of segments: {runs}.")
        elif found and len(with_structure) > 1:
            said.append(f"All of these have {found[0][0]} segments.")
    story = agreement.sentence(same)
    return [*said, story] if story else said


def _row(
    run: Mapping[Any, Any],
    place: str,
    shown: Sequence[tuple[str, str, str, Callable[[Any], str]]],
    varied: Sequence[str],
) -> dict[str, Any]:
    return {
        "id": run["run_id"],
        "place": place,
        "same": pd.notna(run["same_as"]),
        "name": run["run"],
        "k": str(run["k"]),
        "careful": run["careful"] if isinstance(run["careful"], str) else "",
        "settings": [str(run[name]) for name in varied],
        "cells": [
            (group, "–" if pd.isna(run[name]) else written(run[name]))
            for group, name, _, written in shown
        ],
    }
