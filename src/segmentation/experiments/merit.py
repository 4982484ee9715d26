"""The order of runs on one data set, best first."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from segmentation.evaluation.measure_settings import STABILITY
from segmentation.tracking.run_metrics import EVIDENCE_VERSION

#: Hennig's (2007) borders of a cluster's stability: runs between two of them rank equal in it.
BORDERS = (STABILITY.pattern, STABILITY.stable, STABILITY.very_stable)
#: Gaps within this many standard errors of the largest are tied.
TIED = STABILITY.interval
#: What the words of a run's tags are worth; a missing word is worth less than any other.
WORDS = {
    "structure": {"yes": 2, "untested": 1, "no": 0},
    "confidence": {"agreed": 2, "contested": 1},
}
#: Columns that decide the order.
COLUMNS = (
    "structure",
    "careful",
    "confidence",
    "stability",
    "stability_high",
    "gap",
    "gap_se",
    "evidence_version",
    "k",
    "config_hash",
    "start",
    "run_id",
)

Run = Mapping[Any, Any]
#: Structure, no warning, confidence, band of stability; larger is better.
Class = tuple[int, bool, int, int]


def class_of(run: Run) -> Class:
    """Return what ranks before the gap."""
    return (
        worth("structure", run["structure"]),
        not isinstance(run["careful"], str),
        worth("confidence", run["confidence"]),
        band(run),
    )


def worth(column: str, word: Any) -> int:
    """Return what a word is worth."""
    return WORDS[column].get(word, -1)


def band(run: Run) -> int:
    """Return how many borders `upper_stability` reaches; -1 if there is no stability."""
    high = upper_stability(run)
    return -1 if math.isnan(high) else bisect_right(BORDERS, high)


def upper_stability(run: Run) -> float:
    """Return the upper end of the stability's interval; NaN if there is no stability.

    The interval says what bootstraps of another seed might have found. Runs of earlier versions
    have none; their stability itself counts.
    """
    return _number(run["stability_high"], _number(run["stability"], math.nan))


def gap_of(run: Run) -> float:
    """Return the gap; minus infinity if it is missing or measured against another null."""
    comparable = run["evidence_version"] == EVIDENCE_VERSION and pd.notna(run["gap"])
    return float(run["gap"]) if comparable else -math.inf


def best_first(runs: Iterable[Run]) -> list[Run]:
    """Sort the runs of one data set.

    Within a class, the run with the largest gap opens a tie. It takes every run whose gap lies
    within 1.645 of the opener's standard errors; the largest gap left out opens the next. So a tie
    never grows from neighbour to neighbour, and the order does not depend on that of `runs`.

    Parameters
    ----------
    runs : iterable of mapping
        With the keys `COLUMNS`.
    """
    classes: dict[Class, list[Run]] = defaultdict(list)
    for run in runs:
        classes[class_of(run)].append(run)
    found: list[Run] = []
    for each in sorted(classes, reverse=True):
        left = sorted(classes[each], key=lambda run: (-gap_of(run), *_in_tie(run)))
        while left:
            lead = gap_of(left[0])
            # Of several equal gaps, the largest error counts.
            error = max(_number(run["gap_se"], 0.0) for run in left if gap_of(run) == lead)
            tied = sum(gap_of(run) >= lead - TIED * error for run in left)
            found += sorted(left[:tied], key=_in_tie)
            left = left[tied:]
    return found


def is_tied(best: Run, run: Run) -> bool:
    """Return whether a gap lies within the error of a larger one."""
    return gap_of(run) >= gap_of(best) - TIED * _number(best["gap_se"], 0.0)


def _in_tie(run: Run) -> tuple[Any, ...]:
    """Return the key that sorts tied runs; smaller is better."""
    name = run["config_hash"]
    return (
        -_number(run["stability"], -math.inf),
        run["k"],
        (not isinstance(name, str), str(name)),
        -run["start"].value,
        str(run["run_id"]),
    )


def _number(value: Any, default: float) -> float:
    return default if pd.isna(value) else float(value)
