"""The numbers of a whole run, and the columns that tables over runs have of all its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from segmentation.evaluation.formats import decimals, percent
from segmentation.evaluation.metrics import (
    ANY,
    LOGGED,
    METRICS,
    RANKING,
    REFERENCE,
    Metric,
    Scope,
    Shown,
    by_name,
)

if TYPE_CHECKING:
    from segmentation.result import SegmentationResult


def stability(result: SegmentationResult) -> float | None:
    """Mean Jaccard similarity under resampling of the weakest segment."""
    return None if result.stability is None else float(result.stability.stability)


def gap(result: SegmentationResult) -> float | None:
    """How many standard deviations log WCSS lies below that of data without clusters."""
    return None if result.choice.evidence is None else result.choice.evidence.gap


def rules_fidelity(result: SegmentationResult) -> float | None:
    """Share of held-out customers whom the rules put into their own segment."""
    return None if result.rules is None else result.rules.fidelity


#: Numbers of the chosen segmentation that are no metric of a single k.
RUN_METRICS: dict[str, Metric[SegmentationResult]] = by_name(
    Metric("stability", stability, "stability", decimals(2), "higher", ANY),
    Metric("gap", gap, "gap", decimals(2), "higher", ANY),
    Metric(
        "rules_fidelity", rules_fidelity, "fidelity of the rules", percent, "higher", ANY, LOGGED
    ),
)


@dataclass(frozen=True)
class Column:
    """A number of runs, as a column of a table over them.

    Attributes
    ----------
    name : str
        ``sort=NAME`` sorts on it.
    logged : str
        What the metric is called in MLflow.
    heading : str
        What the column is called where there is little room.
    scope : {"any run", "own space", "reference space"}
        Between which runs it may be compared.
    metric : Metric
        Label, format and direction.
    """

    name: str
    logged: str
    heading: str
    scope: Scope
    metric: Metric[Any]


def columns(least: Shown = RANKING) -> list[Column]:
    """The numbers that tables over runs have: of the run, of its chosen k, in the reference space.

    Of each kind the most prominent come first, and of these the ones that should be high.

    Parameters
    ----------
    least : Shown
        Only those that are shown there.
    """
    of_runs, of_k = (
        sorted(
            (metric for metric in table.values() if metric.shown >= least),
            key=lambda metric: (-metric.shown, metric.better == "lower"),
        )
        for table in (RUN_METRICS, METRICS)
    )
    plain = [Column(m.name, m.name, m.short or m.name, m.scope, m) for m in (*of_runs, *of_k)]
    reference = [
        Column(
            f"reference_{m.name}", f"reference/{m.name}", f"ref. {m.short or m.name}", REFERENCE, m
        )
        for m in of_k
        if m.in_reference
    ]
    return plain + reference
