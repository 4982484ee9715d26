"""Compare two runs: their settings, their segments, their customers and their metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from segmentation.evaluation.formats import percent
from segmentation.evaluation.metrics import ANY, OWN, REFERENCE, TABLE
from segmentation.experiments import merit, ranking
from segmentation.experiments.pair_customers import (
    A,
    B,
    CommonCustomers,
    common_customers,
    segment_ids,
)
from segmentation.experiments.pair_settings import Difference, differences, same_features, same_part
from segmentation.tracking.run_lookup import LoggedSegmentation
from segmentation.tracking.run_metrics import columns

#: Metrics that improve with every added segment, so that they favour the larger k.
GROW_WITH_K = ("wcss", "explained_variance")
#: Labels of the criteria that are words.
_WORDS = {"structure": "structure", "careful": "warning", "confidence": "confidence in k"}
_MEDIAN = "median "


@dataclass(frozen=True)
class Criterion:
    """A number or word that says which run is better.

    Attributes
    ----------
    name, label : str
    a, b : str
        The value of each run as text.
    better : {"A", "B", ""}
        Empty if the values are equal or one of them is missing.
    note : str
        Why the better value may not mean much.
    """

    name: str
    label: str
    a: str
    b: str
    better: str
    note: str = ""


@dataclass(frozen=True)
class RunPair:
    """The comparison of two runs.

    Attributes
    ----------
    a, b : LoggedSegmentation
    same_data : bool
        Whether both used the same customers with the same values.
    differences : tuple of Difference
    columns : tuple of str
        Columns with a median in either run.
    common : CommonCustomers or None
        None if there are none, or if it is not known.
    why_apart : str
        Why `common` is None.
    criteria : tuple of Criterion
    first : {"A", "B"} or None
        The run that the ranking puts first; None for different data.
    why_first : str
    not_compared : str
        The metrics that are not comparable, and why; may be empty.
    notes : tuple of str
        What to know about the runs.
    """

    a: LoggedSegmentation
    b: LoggedSegmentation
    same_data: bool
    differences: tuple[Difference, ...]
    columns: tuple[str, ...]
    common: CommonCustomers | None
    why_apart: str
    criteria: tuple[Criterion, ...]
    first: str | None
    why_first: str
    not_compared: str
    notes: tuple[str, ...]

    @property
    def sides(self) -> dict[str, LoggedSegmentation]:
        """The two runs by letter."""
        return {A: self.a, B: self.b}

    def finding(self) -> str:
        """Say in a few words how many customers move."""
        if self.common is None:
            return self.why_apart.rstrip(".")
        sample = "a sample of " if self.common.population > self.common.total else ""
        who = f"{sample}{self.common.total:,} customers"
        if self.common.identical:
            return f"Both runs put {who if sample else f'the {who}'} into the same segments"
        if not self.common.moved:
            return f"None of {who} moves to another segment"
        share = percent(self.common.moved / self.common.total)
        verb = "moves" if self.common.moved == 1 else "move"
        return f"{self.common.moved:,} of {who} ({share}) {verb} to another segment"

    def headline(self) -> str:
        """Say in a sentence or two how different the two segmentations are."""
        if self.common is None:
            return f"{self.why_apart} The segments of the two runs are still shown side by side."
        return f"{self.finding()} (adjusted Rand index {self.common.rand:.2f})."


def compare_pair(a: LoggedSegmentation, b: LoggedSegmentation) -> RunPair:
    """Compare two runs from `segmentation.tracking.run_lookup.read_segmentation`."""
    same_data = a.row["data_sha256"] == b.row["data_sha256"]
    common, why_apart = common_customers(a, b, same_data)
    same_space = same_data and same_features(a, b) and same_part(a, b, "scaling")
    same_reference = same_data and same_part(a, b, "compare")
    criteria, missing = _criteria(a.row, b.row, same_data, same_space, same_reference)
    first, why_first = _first(a.row, b.row) if same_data else (None, "")
    return RunPair(
        a=a,
        b=b,
        same_data=same_data,
        differences=tuple(differences(a, b)),
        columns=tuple(dict.fromkeys([*_medians(a), *_medians(b)])),
        common=common,
        why_apart=why_apart,
        criteria=criteria,
        first=first,
        why_first=why_first,
        not_compared=_not_compared(same_data, missing),
        notes=tuple(_notes(a, b, same_data, common)),
    )


def segment_rows(pair: RunPair) -> list[dict[str, Any]]:
    """Return one row per segment of either run; each is followed by its counterpart.

    Returns
    -------
    list of dict
        ``run`` (A or B), ``segment``, ``name``, ``customers``, ``share``, ``group`` (rows of one
        group are counterparts), ``shared`` (customers in both counterparts) and ``jaccard``, each
        None without a counterpart, and ``medians`` by column.
    """
    matches = () if pair.common is None else pair.common.matches
    of_a, of_b = ({getattr(m, side): m for m in matches} for side in ("a", "b"))
    rows = {
        (letter, int(row["segment"])): {
            "run": letter,
            "segment": int(row["segment"]),
            "name": str(row["name"]),
            "customers": int(row["customers"]),
            "share": float(row["share"]),
            "shared": None if match is None else match.customers,
            "jaccard": None if match is None else match.jaccard,
            "medians": {column: _number(row.get(f"{_MEDIAN}{column}")) for column in pair.columns},
        }
        for letter, side, matched in ((A, pair.a, of_a), (B, pair.b, of_b))
        for row in side.segments.to_dict("records")
        for match in [matched.get(int(row["segment"]))]
    }
    ordered: list[dict[str, Any]] = []
    groups = [[(A, s), (B, of_a[s].b)] if s in of_a else [(A, s)] for s in segment_ids(pair.a)]
    groups += [[(B, s)] for s in segment_ids(pair.b) if s not in of_b]
    for number, group in enumerate(groups):
        ordered += [{**rows[key], "group": number} for key in group]
    return ordered


def aligned_ids(pair: RunPair) -> dict[int, int]:
    """Return an id for each segment of B: that of its counterpart in A, or one A does not use.

    Figures give counterparts the same colour by it.
    """
    known = {} if pair.common is None else pair.common.counterpart()
    fresh = max(segment_ids(pair.a)) + 1
    aligned = {}
    for segment in segment_ids(pair.b):
        if segment in known:
            aligned[segment] = known[segment]
        else:
            aligned[segment], fresh = fresh, fresh + 1
    return aligned


def _criteria(
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    same_data: bool,
    same_space: bool,
    same_reference: bool,
) -> tuple[tuple[Criterion, ...], list[str]]:
    """Return the criteria that are comparable, and the labels of the metrics that are not."""
    found = [_word(name, a, b) for name in _WORDS]
    missing = []
    for column in columns(TABLE):
        values = [_number(row.get(column.name)) for row in (a, b)]
        if values == [None, None]:
            continue
        label = column.metric.label
        if column.scope == REFERENCE:
            label = f"{label}, reference space"
        if not {ANY: True, OWN: same_space, REFERENCE: same_reference}[column.scope]:
            missing.append(column.metric.label)
            continue
        texts = ["–" if value is None else column.metric.format(value) for value in values]
        better, note = "", ""
        if texts[0] != texts[1] and values[0] is not None and values[1] is not None:
            note = _noise(column.name, a, b)
            if not note:
                better = A if (values[0] > values[1]) == (column.metric.better == "higher") else B
                many = A if a["k"] > b["k"] else B
                if column.metric.name in GROW_WITH_K and a["k"] != b["k"] and better == many:
                    note = "improves with every segment"
        found.append(Criterion(column.name, label, texts[0], texts[1], better, note))
    if not same_data:
        # Other customers may be easier to divide: no number of one says that it is better.
        found = [replace(one, better="", note="") for one in found]
    return tuple(found), list(dict.fromkeys(missing))


def _noise(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Say why the ranking takes two different values for equal; "" if it does not."""
    one, other = ({key: row.get(key) for key in merit.COLUMNS} for row in (a, b))
    if name == "stability" and merit.band(one) == merit.band(other):
        return "too close to call"
    if name == "gap":
        gaps = merit.gap_of(one), merit.gap_of(other)
        if not np.isfinite(gaps).all():
            return "measured against different nulls"
        if merit.is_tied(*((one, other) if gaps[0] >= gaps[1] else (other, one))):
            return "too close to call"
    return ""


def _word(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Criterion:
    texts, worth = [], []
    for row in (a, b):
        text = row.get(name)
        if name == "careful":
            worth.append(0 if isinstance(text, str) else 1)
            texts.append("yes" if isinstance(text, str) else "no")
        else:
            worth.append(merit.worth(name, text))
            texts.append(text if isinstance(text, str) else "–")
    known = worth[0] != worth[1] and min(worth) >= 0
    better = (A if worth[0] > worth[1] else B) if known else ""
    return Criterion(name, _WORDS[name], texts[0], texts[1], better)


def _first(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, str]:
    """Return the run that the ranking puts first, and why."""
    ranked = ranking.rank(pd.DataFrame([{**a, "run": A}, {**b, "run": B}]))
    return str(ranked["run"].iloc[0]), ranking.why_first(ranked)


def _not_compared(same_data: bool, missing: Sequence[str]) -> str:
    if not missing:
        return ""
    reason = "the data sets differ" if not same_data else "features or scaling differ"
    return f"Not compared, since {reason} and each run has its own space: {', '.join(missing)}."


def _notes(
    a: LoggedSegmentation,
    b: LoggedSegmentation,
    same_data: bool,
    common: CommonCustomers | None,
) -> Iterator[str]:
    if not same_data:
        yield "The runs used different data sets, so the ranking does not compare them."
        if common is not None:
            yield (
                f"Customers are matched by id: {common.total:,} are in both, {common.only_a:,} "
                f"only in A, {common.only_b:,} only in B. This holds if an id means the same "
                "customer in both."
            )
    if common is not None and not common.has_ids:
        counted = "all customers are counted"
        if common.population > common.total:
            counted = (
                f"a sample of {common.total:,} of the {common.population:,} customers is counted"
            )
        yield f"At least one run did not log its customers, so no ids are shown; {counted}."
    for letter, run in ((A, a), (B, b)):
        if run.config is None:
            yield f"Run {letter} has no stored config, so only the settings that it logged differ."
        careful = run.row.get("careful")
        if isinstance(careful, str):
            yield f"Be careful with run {letter}: {careful}."


def _medians(run: LoggedSegmentation) -> list[str]:
    names = [str(name) for name in run.segments.columns]
    return [name.removeprefix(_MEDIAN) for name in names if name.startswith(_MEDIAN)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
