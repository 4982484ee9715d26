"""The metrics of a whole run, and the columns of all metrics in tables of runs."""

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


#: Metrics that hold a run's place: that of its answer among the answers on the same data, its line
#: in the ranking of all data sets, and the place of its answer within its sweep.
RANK, ORDER, SWEEP_RANK = "rank", "rank_order", "sweep_rank"
#: Gaps are comparable between runs of the same version: 2 is the log-WCSS gap against data that
#: keep each column's own values; before, the tag is missing and the null was Gaussian.
EVIDENCE_VERSION = "2"


def stability(result: SegmentationResult) -> float | None:
    """Return the mean Jaccard similarity of the weakest segment under resampling."""
    return None if result.stability is None else float(result.stability.stability)


def stability_high(result: SegmentationResult) -> float | None:
    """Return the upper end of the 90 % interval of `stability`."""
    return None if result.stability is None else result.stability.high


def gap(result: SegmentationResult) -> float | None:
    """Return how many standard deviations log WCSS is below that of data without clusters."""
    return None if result.choice.evidence is None else result.choice.evidence.gap


def gap_se(result: SegmentationResult) -> float | None:
    """Return the standard error of `gap`."""
    return None if result.choice.evidence is None else result.choice.evidence.gap_se


def rules_fidelity(result: SegmentationResult) -> float | None:
    """Return the share of held-out customers that the rules assign to their segment."""
    return None if result.rules is None else result.rules.fidelity


#: Metrics of the chosen segmentation that do not belong to a single k.
RUN_METRICS: dict[str, Metric[SegmentationResult]] = by_name(
    Metric("stability", stability, "stability", decimals(2), "higher", ANY),
    Metric("gap", gap, "gap", decimals(2), "higher", ANY),
    Metric(
        "stability_high",
        stability_high,
        "stability, upper end of its 90 % interval",
        decimals(2),
        "higher",
        ANY,
        RANKING,
    ),
    Metric("gap_se", gap_se, "standard error of the gap", decimals(2), "lower", ANY, RANKING),
    Metric(
        "rules_fidelity", rules_fidelity, "fidelity of the rules", percent, "higher", ANY, LOGGED
    ),
)


@dataclass(frozen=True)
class Column:
    """A metric as a column of a table of runs.

    Attributes
    ----------
    name : str
        ``sort=NAME`` sorts by it.
    logged : str
        Name of the metric in MLflow.
    heading : str
        Short heading of the column.
    scope : {"any run", "own space", "reference space"}
        The runs it may be compared between.
    metric : Metric
        Label, format and direction.
    """

    name: str
    logged: str
    heading: str
    scope: Scope
    metric: Metric[Any]


def columns(least: Shown = RANKING) -> list[Column]:
    """Return the columns of tables of runs: of the run, of its chosen k, in the reference space.

    Within each kind, the most prominent come first, and among these the ones that should be high.

    Parameters
    ----------
    least : Shown
        Return only metrics shown at this level or a more prominent one.
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
