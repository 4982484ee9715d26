"""Rank runs honestly: by what means the same in every feature set and scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from segmentation.errors import ConfigError
from segmentation.evaluation.metrics import OWN, TABLE
from segmentation.tracking.run_metrics import columns

FORMATS = ("table", "csv", "json", "markdown")
#: What runs are ranked by, best first: each is comparable between any two runs.
RANKED = ("structure", "confidence", "stability", "gap")

_ORDER = {
    "structure": {"yes": 2, "untested": 1, "no": 0},
    "confidence": {"agreed": 2, "contested": 1},
}


def shown() -> list[str]:
    """The columns of the tables for reading, in order."""
    return ["run", "k", "structure", "confidence", *(c.name for c in columns(TABLE)), "run_id"]


def rank(runs: pd.DataFrame, *, sort: str | None = None) -> pd.DataFrame:
    """Runs in order, best first.

    The default order is structure, confidence, stability, standardised gap against the null, then
    the newest first; a split by one single column (`segmentation.profiling.importance`) comes after
    all other runs with structure, since a column of two values is always found again. WCSS,
    silhouette and explained variance take no part: measured in different scaled spaces they are
    different quantities.

    Parameters
    ----------
    runs : DataFrame
        From `segmentation.tracking.runs.finished_runs`.
    sort : str, optional
        A column to sort on instead.

    Raises
    ------
    ConfigError
        `sort` names no column.
    """
    if runs.empty:
        return runs
    if sort is not None and sort not in runs.columns:
        allowed = ", ".join(dict.fromkeys((*shown(), "features", "scaling", "start")))
        raise ConfigError(f"sort={sort}: allowed are {allowed}.")
    if sort is None:
        merits = [merit(row) for row in runs[[*RANKED, "careful", "start"]].to_dict("records")]
        order = sorted(range(len(runs)), key=merits.__getitem__, reverse=True)
        return runs.iloc[order].reset_index(drop=True)
    values = runs[list(dict.fromkeys([sort, "start"]))].reset_index(drop=True)
    if sort in _ORDER:
        values[sort] = [_worth(sort, value) for value in values[sort]]
    low = {column.name for column in columns() if column.metric.better == "lower"}
    ascending = [key in low for key in values]
    values = values.sort_values([*values], ascending=ascending, kind="stable")
    return runs.iloc[values.index].reset_index(drop=True)


def merit(run: Mapping[Any, Any]) -> tuple[Any, ...]:
    """What `rank` sorts a run by: the larger the better."""
    structure, *others = (_worth(key, run[key]) for key in RANKED)
    return (structure, pd.isna(run["careful"]), *others, run["start"])


def _worth(column: str, value: Any) -> float:
    """A value as a number to sort by; what is missing comes last."""
    if column in _ORDER:
        return _ORDER[column].get(value, -1)
    return -math.inf if pd.isna(value) else float(value)


def why_first(ranked: pd.DataFrame) -> str:
    """What puts the first run before the second, in one sentence; empty for a single run.

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
            return f"{before} {key}, and there by less than three digits show: {own}."
        if key == "structure" and pd.isna(first["careful"]) and pd.notna(second["careful"]):
            return f"It comes before {second['run']}, which carries a warning."
    return f"It equals {second['run']} in all that is ranked; the newer of the two stands first."


def render(ranked: pd.DataFrame, *, form: str, top: int) -> str:
    """The first `top` runs as text.

    Parameters
    ----------
    ranked : DataFrame
        From `rank`.
    form : {"table", "csv", "json", "markdown"}
        The table is for reading; the others hold every column of every run shown.
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
        raise ConfigError(f"top={top}: how many runs to show, at least 1.")
    best = ranked.head(top)
    if form == "csv":
        return best.to_csv(index=False).rstrip("\n")
    if form == "json":
        return str(best.to_json(orient="records", date_format="iso", indent=2))
    texts = _readable(best)
    return markdown(texts) if form == "markdown" else _table(texts)


def advice(ranked: pd.DataFrame, *, sort: str | None = None) -> list[str]:
    """What the reader of a ranking should know: order, comparability and mixed data."""
    notes = []
    if ranked["structure"].iloc[0] == "untested":
        notes.append(
            "Structure was not tested in the first of these runs, so being first means little: "
            "fit with choice=evidence before you promote."
        )
    careful = ranked["careful"].iloc[0]
    if isinstance(careful, str):
        notes.append(f"Careful with the first of these runs: {careful}.")
    if ranked[["features", "scaling"]].drop_duplicates().shape[0] > 1:
        order = f"Ranked by {', '.join(RANKED)}" if sort is None else f"Sorted on {sort}"
        own = [column.name for column in columns(TABLE) if column.scope == OWN]
        notes.append(
            f"{order}. {', '.join(own)} are measured in each run's "
            "own space: compare them only between equal features and scaling. The ref. columns are "
            "measured in one space for all, which favours runs that used its columns."
        )
    if ranked["data_sha256"].nunique() > 1:
        notes.append(
            f"Warning: these runs used {ranked['data_sha256'].nunique()} different data sets; "
            "narrow them down with sweep_id=… or filter=…"
        )
    return notes


def markdown(frame: pd.DataFrame) -> str:
    """A frame of texts as a Markdown table."""
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
