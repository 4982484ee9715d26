"""Rank runs by numbers that are comparable between feature sets and scalings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from segmentation.errors import ConfigError
from segmentation.evaluation.metrics import OWN, TABLE
from segmentation.tracking.run_metrics import columns

FORMATS = ("table", "csv", "json", "markdown")
#: Columns that runs are ranked by, in this order; each is comparable between any two runs.
RANKED = ("structure", "confidence", "stability", "gap")

_ORDER = {
    "structure": {"yes": 2, "untested": 1, "no": 0},
    "confidence": {"agreed": 2, "contested": 1},
}


def shown() -> list[str]:
    """Return the columns of printed tables, in order."""
    return ["run", "k", "structure", "confidence", *(c.name for c in columns(TABLE)), "run_id"]


def rank(runs: pd.DataFrame, *, sort: str | None = None) -> pd.DataFrame:
    """Sort runs, best first.

    The default order is by structure, confidence, stability and standardised gap against the null;
    ties are broken in favour of the newest run. Runs with a split by a single column
    (`segmentation.profiling.importance`) come after all other runs with structure, since the split
    by a column with two values is always stable. WCSS, silhouette and explained variance are not
    used: they are not comparable between different scaled spaces.

    Parameters
    ----------
    runs : DataFrame
        From `segmentation.tracking.runs.finished_runs`.
    sort : str, optional
        A column to sort by instead.

    Raises
    ------
    ConfigError
        `sort` is not a column.
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
    """Return the key by which `rank` sorts a run; larger is better."""
    structure, *others = (_worth(key, run[key]) for key in RANKED)
    return (structure, pd.isna(run["careful"]), *others, run["start"])


def _worth(column: str, value: Any) -> float:
    """Convert a value to a number to sort by; missing values come last."""
    if column in _ORDER:
        return _ORDER[column].get(value, -1)
    return -math.inf if pd.isna(value) else float(value)


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
