"""Rank runs by numbers that are comparable between feature sets and scalings."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from segmentation.errors import ConfigError
from segmentation.evaluation.metrics import OWN, TABLE
from segmentation.experiments.answers import openers
from segmentation.tracking.run_metrics import EVIDENCE_VERSION, columns

FORMATS = ("table", "csv", "json", "markdown")
#: Columns that runs are ranked by, in this order; each is comparable between any two runs.
RANKED = ("structure", "confidence", "stability", "gap")
#: Hennig's (2007) borders of a cluster's stability: runs between two of them rank equal in it.
BORDERS = (0.6, 0.75, 0.85)
#: Gaps that differ by no more than this many standard errors rank equal.
TIED = 1.64

_ORDER = {
    "structure": {"yes": 2, "untested": 1, "no": 0},
    "confidence": {"agreed": 2, "contested": 1},
}


def shown() -> list[str]:
    """Return the columns of printed tables, in order."""
    return ["run", "k", "structure", "confidence", *(c.name for c in columns(TABLE)), "run_id"]


def rank(runs: pd.DataFrame, *, sort: str | None = None) -> pd.DataFrame:
    """Sort runs, best first, and number the answers they give.

    Runs are ranked within one data set; data sets follow each other, the newest first. The order
    is: structure; no warning (`segmentation.profiling.importance`), since a split by a column with
    two values is always stable; confidence; stability between Hennig's borders, at the upper end of
    its interval; gap against the null; fewer segments; ``config_hash``. Gaps within 1.64 standard
    errors of the largest one are a tie, decided by the stability itself, then fewer segments; the
    first run that is left out opens the next tie. WCSS, silhouette and explained variance are not
    used: they are not comparable between different scaled spaces.

    Parameters
    ----------
    runs : DataFrame
        From `segmentation.tracking.runs.finished_runs`.
    sort : str, optional
        A column to sort by instead. The answers keep their numbers.

    Returns
    -------
    DataFrame
        With two more columns. ``rank``: the place of the run's answer among the answers on its
        data, from 1; runs with equal partitions share it. ``same_as``: the id of the run above that
        opened the answer, None for that run itself. Runs follow the run that opened their answer.

    Raises
    ------
    ConfigError
        `sort` is not a column.
    """
    if sort is not None and sort not in runs.columns and not runs.empty:
        allowed = ", ".join(dict.fromkeys((*shown(), "features", "scaling", "start")))
        raise ConfigError(f"sort={sort}: allowed are {allowed}.")
    order: list[int] = []
    numbers: list[int] = []
    same_as: list[str | None] = []
    rows = _records(runs)
    for digest in data_sets(runs):
        best_first = _ordered([row for row in rows if row["data_sha256"] == digest])
        opener = openers([row["partition"] for row in best_first])
        number = {place: i for i, place in enumerate(dict.fromkeys(opener), 1)}
        for place in sorted(range(len(opener)), key=lambda place: (opener[place], place)):
            first = opener[place]
            order.append(best_first[place]["position"])
            numbers.append(number[first])
            same_as.append(None if first == place else best_first[first]["run_id"])
    ranked = runs.iloc[order].reset_index(drop=True)
    ranked["rank"] = np.array(numbers, dtype=np.int64)
    ranked["same_as"] = pd.Series(same_as, dtype=object)
    return ranked if sort is None or ranked.empty else _sorted(ranked, sort)


def first_of(runs: pd.DataFrame) -> pd.Series[Any]:
    """Return the row of the run that `rank` puts first, without comparing partitions."""
    newest = data_sets(runs)[0]
    rows = [row for row in _records(runs) if row["data_sha256"] == newest]
    best = max(map(_class, rows))
    first = _ordered([row for row in rows if _class(row) == best])[0]
    return runs.iloc[first["position"]]


def data_sets(runs: pd.DataFrame) -> list[Any]:
    """Return the digests of the data, newest first: the data set that was first used last."""
    if runs.empty:
        return []
    first_used = runs.groupby(runs["data_sha256"].fillna(""))["start"].min()
    return first_used.sort_index().sort_values(ascending=False, kind="stable").index.to_list()


def _records(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the values that decide the order, one dict per run."""
    if runs.empty:
        return []
    wanted = [*RANKED, "careful", "k", "config_hash", "start", "run_id", "data_sha256"]
    later = ["stability_high", "gap_se", "evidence_version", "partition"]
    rows = runs.reindex(columns=[*wanted, *later]).to_dict("records")
    for position, row in enumerate(rows):
        row["position"] = position
        row["data_sha256"] = "" if pd.isna(row["data_sha256"]) else row["data_sha256"]
    return rows


def _class(run: Mapping[str, Any]) -> tuple[float, bool, float, int]:
    """Return the part of a run's merit that comes before its gap; larger is better."""
    high = run["stability"] if pd.isna(run["stability_high"]) else run["stability_high"]
    return (
        _worth("structure", run["structure"]),
        pd.isna(run["careful"]),
        _worth("confidence", run["confidence"]),
        -1 if pd.isna(high) else bisect_right(BORDERS, high),
    )


def gap_of(run: Mapping[str, Any]) -> float:
    """Return the gap of a run; minus infinity if it is missing or measured against another null."""
    comparable = run["evidence_version"] == EVIDENCE_VERSION and pd.notna(run["gap"])
    return float(run["gap"]) if comparable else -math.inf


def _ordered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort the runs of one data set, best first."""
    found = []
    classes: dict[tuple[float, bool, float, int], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        classes[_class(row)].append(row)
    for each in sorted(classes, reverse=True):
        left = sorted(classes[each], key=lambda row: (-gap_of(row), *_tie_break(row)))
        while left:
            # Of equal gaps, the one with the largest error opens: it does not depend on the order.
            lead = gap_of(left[0])
            error = max(_or(row["gap_se"], 0.0) for row in left if gap_of(row) == lead)
            tied = sum(gap_of(row) >= lead - TIED * error for row in left)
            found += sorted(left[:tied], key=_tie_break)
            left = left[tied:]
    return found


def _tie_break(run: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the key that decides between tied gaps; smaller is better."""
    name = run["config_hash"]
    newest = -run["start"].value
    return (
        -_or(run["stability"], -math.inf),
        run["k"],
        (not isinstance(name, str), str(name)),
        newest,
        str(run["run_id"]),
    )


def _or(value: Any, default: float) -> float:
    return default if pd.isna(value) else float(value)


def _sorted(ranked: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Sort by a column, best first."""
    values = ranked[list(dict.fromkeys([sort, "start"]))].reset_index(drop=True)
    if sort in _ORDER:
        values[sort] = [_worth(sort, value) for value in values[sort]]
    low = {column.name for column in columns() if column.metric.better == "lower"} | {"rank"}
    ascending = [key in low for key in values]
    values = values.sort_values([*values], ascending=ascending, kind="stable")
    return ranked.iloc[values.index].reset_index(drop=True)


def _worth(column: str, value: Any) -> float:
    """Convert a word to a number to sort by; missing values come last."""
    return _ORDER[column].get(value, -1)


def why_first(ranked: pd.DataFrame) -> str:
    """Explain in one sentence why the first run ranks before the second; empty for a single run.

    Parameters
    ----------
    ranked : DataFrame
        From `rank` in its default order.
    """
    if len(ranked) < 2:
        return ""
    first, second = (ranked.iloc[place] for place in (0, 1))
    before = f"It comes before {second['run']} by"
    for key in RANKED:
        own, other = (row[key] if pd.notna(row[key]) else "none" for row in (first, second))
        if own != other:
            own, other = (f"{v:.3g}" if isinstance(v, float) else v for v in (own, other))
            if own != other:
                return f"{before} {key}: {own} against {other}."
            return f"{before} {key}, with a difference too small to show: {own}."
        if key == "structure" and pd.isna(first["careful"]) and pd.notna(second["careful"]):
            return f"It comes before {second['run']}, which has a warning."
    return f"It equals {second['run']} in all ranked columns; the newer of the two comes first."


def render(ranked: pd.DataFrame, *, form: str, top: int) -> str:
    """Render the first `top` runs as text.

    Parameters
    ----------
    ranked : DataFrame
        From `rank`.
    form : {"table", "csv", "json", "markdown"}
        The table is for reading; the others contain every column of the runs shown.
    top : int
        At least 1.

    Raises
    ------
    ConfigError
        `form` or `top` is not allowed.
    """
    if form not in FORMATS:
        raise ConfigError(f"format={form}: allowed are {', '.join(FORMATS)}.")
    if top < 1:
        raise ConfigError(f"top={top}: the number of runs to show must be at least 1.")
    best = ranked.head(top)
    if form == "csv":
        return best.to_csv(index=False).rstrip("\n")
    if form == "json":
        return str(best.to_json(orient="records", date_format="iso", indent=2))
    texts = _readable(best)
    return markdown(texts) if form == "markdown" else _table(texts)


def advice(ranked: pd.DataFrame, *, sort: str | None = None) -> list[str]:
    """Return notes on reading a ranking: its order, comparability and mixed data."""
    notes = []
    if ranked["structure"].iloc[0] == "untested":
        notes.append(
            "Cluster structure was not tested in the first of these runs, so its rank says little: "
            "fit with choice=evidence before you promote it."
        )
    careful = ranked["careful"].iloc[0]
    if isinstance(careful, str):
        notes.append(f"Be careful with the first of these runs: {careful}.")
    if ranked[["features", "scaling"]].drop_duplicates().shape[0] > 1:
        order = f"Ranked by {', '.join(RANKED)}" if sort is None else f"Sorted by {sort}"
        own = [column.name for column in columns(TABLE) if column.scope == OWN]
        notes.append(
            f"{order}. The columns {', '.join(own)} are measured in each run's own space: "
            "compare them only between runs with the same features and scaling. The ref. columns "
            "are measured in one space for all runs, which favours runs that use its columns."
        )
    if ranked["data_sha256"].nunique() > 1:
        notes.append(
            f"Warning: these runs used {ranked['data_sha256'].nunique()} different data sets; "
            "narrow them down with sweep_id=… or filter=…"
        )
    return notes


def markdown(frame: pd.DataFrame) -> str:
    """Render a frame of strings as a Markdown table."""
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    return "\n".join(
        f"| {' | '.join(str(v).replace('|', chr(92) + '|') for v in r)} |" for r in rows
    )


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    texts = pd.DataFrame({"": range(1, len(frame) + 1)})
    headings = {column.name: column.heading for column in columns(TABLE)}
    for name in shown():
        values = frame[name]
        digits = ".4g" if pd.api.types.is_float_dtype(values) else ""
        heading = headings.get(name, name)
        texts[heading] = [format(v, digits) if pd.notna(v) else "" for v in values]
    return texts


def _table(texts: pd.DataFrame) -> str:
    widths = [
        max(len(str(column)), *(len(str(v)) for v in texts[column])) for column in texts.columns
    ]
    lines = [list(texts.columns), *texts.to_numpy().tolist()]
    return "\n".join(
        "  ".join(str(v).ljust(w) for v, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
