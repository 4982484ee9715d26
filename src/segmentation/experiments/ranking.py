"""Rank runs by numbers that are comparable between feature sets and scalings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from segmentation.errors import ConfigError
from segmentation.evaluation.formats import percent, short_digest
from segmentation.evaluation.metrics import TABLE
from segmentation.experiments import merit
from segmentation.experiments.answers import openers
from segmentation.tracking.run_metrics import columns
from segmentation.tracking.runs import LOGGED_BELOW, LOGGED_RANKS

FORMATS = ("table", "csv", "json", "markdown")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_ARBITRARY = "but nothing that counts separates the two"
#: Columns that are not for readers.
INTERNAL = (*LOGGED_RANKS.values(), LOGGED_BELOW, "partition")


def shown() -> list[str]:
    """Return the columns of printed tables, in order."""
    return ["run", "k", "structure", "confidence", *(c.name for c in columns(TABLE)), "run_id"]


def rank(runs: pd.DataFrame, *, sort: str | None = None) -> pd.DataFrame:
    """Sort runs, best first, and number the answers they give.

    Runs are ranked within one data set; data sets follow each other, the newest first. The order
    is: structure; no warning (`segmentation.profiling.importance`), since a split by a column with
    two values is always stable; confidence; stability between Hennig's borders, at the upper end of
    its interval; gap against the null; fewer segments; ``config_hash``. Gaps within 1.645 standard
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
        best = merit.best_first(row for row in rows if row["data_sha256"] == digest)
        opener = openers([row["partition"] for row in best])
        number = {place: i for i, place in enumerate(dict.fromkeys(opener), 1)}
        for place in sorted(range(len(opener)), key=lambda place: (opener[place], place)):
            first = opener[place]
            order.append(best[place]["position"])
            numbers.append(number[first])
            same_as.append(None if first == place else best[first]["run_id"])
    ranked = runs.iloc[order].reset_index(drop=True)
    ranked["rank"] = np.array(numbers, dtype=np.int64)
    ranked["same_as"] = pd.Series(same_as, dtype=object)
    return ranked if sort is None or ranked.empty else _sorted(ranked, sort)


def first_of(runs: pd.DataFrame) -> int:
    """Return the position of the run that `rank` puts first, without comparing partitions."""
    newest = data_sets(runs)[0]
    rows = [row for row in _records(runs) if row["data_sha256"] == newest]
    best = max(map(merit.class_of, rows))
    (first, *_) = merit.best_first(row for row in rows if merit.class_of(row) == best)
    return int(first["position"])


def data_sets(runs: pd.DataFrame) -> list[Any]:
    """Return the digests of the data, newest first: the one that was added most recently."""
    if runs.empty:
        return []
    first_used = runs.groupby(runs["data_sha256"].fillna(""))["start"].min()
    return first_used.sort_index().sort_values(ascending=False, kind="stable").index.to_list()


def _records(runs: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return what decides the order, one dict per run."""
    if runs.empty:
        return []
    wanted = [*merit.COLUMNS, "data_sha256", "partition"]
    rows = runs.reindex(columns=wanted).to_dict("records")
    for position, row in enumerate(rows):
        row["position"] = position
        row["data_sha256"] = "" if pd.isna(row["data_sha256"]) else row["data_sha256"]
    return rows


def _sorted(ranked: pd.DataFrame, sort: str) -> pd.DataFrame:
    """Sort by a column, best first."""
    values = ranked[list(dict.fromkeys([sort, "start"]))].reset_index(drop=True)
    if sort in merit.WORDS:
        values[sort] = [merit.worth(sort, value) for value in values[sort]]
    low = {column.name for column in columns() if column.metric.better == "lower"}
    ascending = [key in low for key in values]
    values = values.sort_values([*values], ascending=ascending, kind="stable")
    return ranked.iloc[values.index].reset_index(drop=True)


def why_first(ranked: pd.DataFrame) -> str:
    """Explain in one sentence why the first answer is first and what is given up for it.

    Parameters
    ----------
    ranked : DataFrame
        From `rank` in its default order.

    Returns
    -------
    str
        Empty for a single run.
    """
    same_data = ranked["data_sha256"].fillna("") == ("" if ranked.empty else _data_of(ranked, 0))
    answers = ranked[same_data & ranked["same_as"].isna()]
    if same_data.sum() < 2:
        return ""
    if len(answers) < 2:
        count = int(same_data.sum())
        return f"{'Both' if count == 2 else f'All {count}'} runs give this answer."
    first, second = _records(answers.head(2))
    reason = _reason(first, second)
    verb = "stands" if reason.endswith(_ARBITRARY) else "comes"
    said = f"It {verb} before {answers['run'].iloc[1]}{reason}"
    price = _price(answers.iloc[0], answers.iloc[1])
    if not price:
        # The second answer is much like the first: what matters is the first that is not.
        others = answers[(answers["k"] != first["k"]) & (answers["structure"] == "yes")]
        if len(others) and (price := _price(answers.iloc[0], others.iloc[0])):
            price = f"against {others['run'].iloc[0]}, {price}"
    return f"{said}; {price}." if price else f"{said}."


def _data_of(ranked: pd.DataFrame, place: int) -> str:
    digest = ranked["data_sha256"].iloc[place]
    return "" if pd.isna(digest) else str(digest)


def _reason(first: merit.Run, second: merit.Run) -> str:
    """Return the first criterion in which two runs differ."""
    pair = (first, second)
    if first["structure"] != second["structure"]:
        return f" by structure: {first['structure']} against {second['structure']}"
    if merit.class_of(first)[1] != merit.class_of(second)[1]:
        return ", which has a warning"
    if first["confidence"] != second["confidence"]:
        words = [
            run["confidence"] if isinstance(run["confidence"], str) else "none" for run in pair
        ]
        if words[0] != words[1]:
            return f" by confidence: {words[0]} against {words[1]}"
    if merit.band(first) != merit.band(second):
        return f" by stability: {_upper_ends(first, second)}"
    if not math.isfinite(merit.gap_of(second)):
        if math.isfinite(merit.gap_of(first)):
            return f" by gap: {first['gap']:.3g} against none that can be compared"
        tie = ""
    elif merit.is_tied(first, second):
        tie = f", tied in gap ({_against('gap', first, second, 'and')}),"
    else:
        return f" by gap: {_against('gap', first, second)}"
    if pd.notna(first["stability"]) and first["stability"] != second["stability"]:
        return f"{tie} by stability: {_against('stability', first, second)}"
    if first["k"] != second["k"]:
        return f"{tie} by fewer segments: {first['k']} against {second['k']}"
    return f"{tie or ','} {_ARBITRARY}"


def _against(column: str, first: merit.Run, second: merit.Run, word: str = "against") -> str:
    """Return two numbers with as many digits as it takes to tell them apart."""
    digits = _digits(first[column], second[column])
    own, other = (_number(run[column], digits) for run in (first, second))
    return f"{own} {word} {other}"


def _upper_ends(first: merit.Run, second: merit.Run) -> str:
    """Return two stabilities with the upper ends of their intervals, which decide."""
    ends = [merit.upper_stability(run) for run in (first, second)]
    digits = _digits(*ends)
    texts = []
    for run, end in zip((first, second), ends, strict=True):
        text, high = _number(run["stability"], digits), _number(end, digits)
        texts.append(text if high == text else f"{text} (up to {high})")
    return " against ".join(texts)


def _digits(one: float, other: float) -> int:
    """Return how many digits it takes to tell two numbers apart, 2 to 5."""
    return next((n for n in (2, 3, 4) if f"{one:.{n}g}" != f"{other:.{n}g}"), 5)


def _number(value: float, digits: int) -> str:
    return "none" if pd.isna(value) else f"{value:.{digits}g}"


def _price(first: pd.Series[Any], second: pd.Series[Any]) -> str:
    """Compare what two answers explain of the same columns; empty if they do it equally well."""
    own, other = (float(run["reference_explained_variance"]) for run in (first, second))
    more = int(first["k"]) - int(second["k"])
    if not math.isfinite(own + other) or (percent(own) == percent(other) and not more):
        return ""
    against = f"instead of {percent(other)} " if percent(own) != percent(other) else ""
    what = f"{percent(own)} {against}of the same columns"
    if not more:
        return f"as many segments explain {what}"
    number = dict(enumerate(_NUMBERS, 1)).get(abs(more), abs(more))
    few, verb = ("segment", "explains") if abs(more) == 1 else ("segments", "explain")
    return f"{number} {'more' if more > 0 else 'fewer'} {few} {verb} {what}"


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
    best = ranked.head(top).drop(columns=[*INTERNAL], errors="ignore")
    if form == "csv":
        return best.to_csv(index=False).rstrip("\n")
    if form == "json":
        return str(best.to_json(orient="records", date_format="iso", indent=2))
    texts = _readable(best)
    return markdown(texts) if form == "markdown" else _table(texts)


def markdown(frame: pd.DataFrame) -> str:
    """Render a frame of strings as a Markdown table."""
    rows = [list(frame.columns), ["---"] * frame.shape[1], *frame.to_numpy().tolist()]
    return "\n".join(
        f"| {' | '.join(str(v).replace('|', chr(92) + '|') for v in r)} |" for r in rows
    )


def places(ranked: pd.DataFrame) -> list[str]:
    """Return the place of each run for readers: ``3`` opens answer 3, ``= 3`` gives the same."""
    return [
        str(number) if pd.isna(other) else f"= {number}"
        for number, other in zip(ranked["rank"], ranked["same_as"], strict=True)
    ]


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    texts = pd.DataFrame({"rank": places(frame)})
    headings = {column.name: column.heading for column in columns(TABLE)}
    if frame["data_sha256"].nunique() > 1:
        texts["data"] = frame["data"].to_numpy()
        texts["data_sha256"] = [
            short_digest(each) if isinstance(each, str) else "" for each in frame["data_sha256"]
        ]
    for name in shown():
        values = frame[name]
        digits = ".4g" if pd.api.types.is_float_dtype(values) else ""
        heading = headings.get(name, name)
        texts[heading] = [format(v, digits) if pd.notna(v) else "" for v in values]
        if name == "confidence" and frame["careful"].notna().any():
            texts["careful"] = ["yes" if isinstance(v, str) else "" for v in frame["careful"]]
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
