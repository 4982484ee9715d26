"""The evidence on the number of segments: a gate, five criteria and how many of them agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmentation.clustering.base import Clustering
from segmentation.evaluation.formats import decimals, whole
from segmentation.evaluation.metrics import METRICS, Better
from segmentation.runtime.forks import aside
from segmentation.selection import cluster_tendency as gate
from segmentation.selection import criteria
from segmentation.selection.cluster_tendency import Gate
from segmentation.selection.evidence_settings import CRITERIA_SETTINGS, EVIDENCE
from segmentation.selection.standardised_gap import standardised_gap

Array = NDArray[np.float64]

#: Columns of the evidence table, in this order.
COLUMNS = (
    "icl",
    "bic",
    "silhouette",
    "calinski_harabasz",
    "gap",
    "gap_se",
    "prediction_strength",
    "dip_p",
)


@dataclass(frozen=True)
class Criterion:
    """A number computed for each k, and a rule that picks one k from it.

    Attributes
    ----------
    name : str
        Its column in the evidence table.
    label : str
        Its name for readers.
    format : callable
        Formats a value.
    better : {"higher", "lower"}
    pick : callable
        Takes a table indexed by k; returns the k it picks, or None.
    knows_one : bool
        Whether it may pick k=1. If not, `pick` gets only k >= 2.
    """

    name: str
    label: str
    format: Callable[[float], str]
    better: Better
    pick: Callable[[pd.DataFrame], int | None]
    knows_one: bool = False


def _highest(name: str) -> Criterion:
    """Return a criterion that picks the k with the highest value of a metric of the curve."""
    line = METRICS[name]
    return Criterion(
        name, line.label, line.format, line.better, lambda t: criteria.highest(t[name])
    )


CRITERIA = {
    each.name: each
    for each in (
        Criterion(
            "icl", "ICL", whole, "lower", lambda t: criteria.lowest(t["icl"]), knows_one=True
        ),
        _highest("silhouette"),
        _highest("calinski_harabasz"),
        Criterion(
            "gap",
            "gap statistic",
            decimals(3),
            "higher",
            # The gate has already decided that one group is not enough. The gap alone would often
            # pick 1.
            lambda t: criteria.first_gap(t["gap"], t["gap_se"]),
        ),
        Criterion(
            "prediction_strength",
            "prediction strength",
            decimals(2),
            "higher",
            lambda t: criteria.largest_strong(t["prediction_strength"]),
        ),
    )
}


@dataclass(frozen=True)
class Evidence:
    """The results of the gate and the criteria, and the k they lead to.

    Attributes
    ----------
    k : int
        1 if the gate found no structure.
    table : DataFrame
        Indexed by k; columns ``icl``, ``bic``, ``silhouette``, ``calinski_harabasz``, ``gap``,
        ``gap_se``, ``prediction_strength``, ``dip_p``; NaN where undefined.
    picks : mapping of criterion to k
        Empty if the gate found no structure.
    gate : Gate
    null_bands : mapping of criterion to (low, high)
        The range of a criterion on data without clusters; each a Series indexed by k.
    gap, gap_se : float or None
        Standardised gap of the chosen k, and its standard error; see
        `segmentation.selection.standardised_gap`.
    rows : mapping of str to int
        How many customers each test and criterion used.
    """

    k: int
    table: pd.DataFrame
    picks: Mapping[str, int]
    gate: Gate
    null_bands: Mapping[str, tuple[pd.Series, pd.Series]]
    gap: float | None
    gap_se: float | None
    rows: Mapping[str, int]

    @property
    def agreeing(self) -> int:
        """How many criteria pick the chosen k."""
        return sum(pick == self.k for pick in self.picks.values())

    @property
    def confidence(self) -> str | None:
        """``agreed`` or ``contested``; None if there is no structure.

        The threshold of three of five was measured; see `benchmarks/quality_k.py`.
        """
        if not self.gate.structure:
            return None
        # At the end of the range the next k might have been better still.
        return "agreed" if self.agreeing >= EVIDENCE.agreement and not self.at_end else "contested"

    @property
    def at_end(self) -> bool:
        """Whether k is the largest k of the range."""
        return self.k == int(self.table.index.max())

    def as_dict(self) -> dict[str, Any]:
        """Return a dict that can be written as JSON; undefined values are null."""
        return {
            "k": self.k,
            "confidence": self.confidence,
            "picks": dict(self.picks),
            "gap": _plain(self.gap),
            "gap_se": _plain(self.gap_se),
            "gate": self.gate.as_dict(),
            "rows": dict(self.rows),
            "table": [
                {"k": k, **{str(name): _plain(value) for name, value in row.items()}}
                for k, row in self.table.to_dict("index").items()
            ],
            "null_bands": {
                name: {
                    "k": [int(k) for k in low.index],
                    "low": [_plain(value) for value in low],
                    "high": [_plain(value) for value in high],
                }
                for name, (low, high) in self.null_bands.items()
            },
        }


def gather(
    Z: Array,
    clusterings: Mapping[int, Clustering],
    curve: pd.DataFrame,
    *,
    seed: int,
    k_min: int = 1,
    features: Sequence[str] | None = None,
    processes: int = 1,
) -> Evidence:
    """Gather the evidence on all fitted k and choose one.

    The gate decides whether there is structure. If there is, each k gets a score: ICL's gain over
    one group, relative to the largest gain, plus half the silhouette, relative to the largest
    silhouette. The k with the highest score is chosen. If ICL prefers one group, the k with the
    highest silhouette is chosen. When ICL hardly distinguishes two k, the silhouette tells whether
    a component is a group or the tail of one.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    curve : DataFrame
        Indexed by k with columns ``silhouette`` and ``calinski_harabasz``.
    seed : int
    k_min : int
        The smallest k allowed if there is structure.
    features : sequence of str, length d, optional
        Feature that each column of `Z` belongs to; by default each is one of its own.
    processes : int
        The number of processes that may be used. It does not change the result.
    """
    table = curve[["silhouette", "calinski_harabasz"]].astype(float)
    ks = table.index.to_list()
    rows: dict[str, int] = {}

    def gap_and_strength() -> list[pd.DataFrame]:
        return [
            criteria.gap(Z, ks, seed=seed),
            criteria.prediction_strength(Z, ks, seed=seed).to_frame(),
        ]

    if gate.untestable(Z, clusterings) is None:
        with aside(gap_and_strength, processes) as rest:
            mixtures = criteria.icl(Z, clusterings, seed=seed)
            verdict = gate.find_structure(Z, clusterings, seed=seed, icl=mixtures["icl"])
            table = table.join([mixtures, *rest()])
        rows = {name: min(len(Z), limit) for name, limit in CRITERIA_SETTINGS.rows.items()}
    else:
        verdict = gate.find_structure(Z, clusterings, seed=seed)
    table["dip_p"] = pd.Series(verdict.dip_p, dtype=float).reindex(table.index)
    table = table.reindex(columns=COLUMNS)
    picks = _picks(table.loc[table.index >= k_min]) if verdict.structure else {}
    k = _decide(table, picks, k_min) if verdict.structure else 1
    standardised = standardised_gap(Z, clusterings[k].centers, seed=seed, features=features)
    return Evidence(
        k=k,
        table=table,
        picks=picks,
        gate=verdict,
        null_bands=_bands(table, verdict),
        gap=None if standardised is None else standardised.gap,
        gap_se=None if standardised is None else standardised.error,
        rows={**verdict.rows, **rows},
    )


def _picks(table: pd.DataFrame) -> dict[str, int]:
    """Return the k that each criterion picks; 1 if it picks none."""
    several = table.loc[table.index >= 2]
    named = {
        name: each.pick(table if each.knows_one else several) for name, each in CRITERIA.items()
    }
    return {name: 1 if k is None else k for name, k in named.items()}


def _decide(table: pd.DataFrame, picks: Mapping[str, int], k_min: int) -> int:
    """Return the k with the largest weighted sum of relative ICL gain and silhouette."""
    several = table.loc[table.index >= max(2, k_min)]
    gain = table["icl"][1] - several["icl"]
    # Testing picks["icl"] == 1 is not enough: with k_min above 1 no criterion can pick 1.
    if not gain.max() > 0:
        return picks["silhouette"]
    width = several["silhouette"].clip(lower=0).fillna(0)
    score = gain / gain.max() + EVIDENCE.silhouette_weight * width / (width.max() or 1.0)
    return int(score.index.to_numpy()[score.to_numpy().argmax()])


def _bands(table: pd.DataFrame, verdict: Gate) -> dict[str, tuple[pd.Series, pd.Series]]:
    if verdict.bands.empty:
        return {}
    spread = 2 * table["gap_se"]
    return {
        "silhouette": (verdict.bands["low"], verdict.bands["high"]),
        "gap": (-spread, spread),
    }


def _plain(value: Any) -> float | None:
    """Return a number that JSON can represent, or None."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)
