"""Which k, how sure, or none: one function behind the table `CHOICES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmentation.clustering.base import Clustering
from segmentation.errors import ConfigError
from segmentation.runtime.threads import at_most, free_processes
from segmentation.selection import criteria
from segmentation.selection.evidence import CRITERIA, Evidence, gather

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """The chosen number of segments and how sure it is.

    Attributes
    ----------
    k : int
        1 when there is no structure, whatever the range.
    rule : str
        A name of `CHOICES`.
    structure : bool or None
        None when the rule does not test it: every rule but ``evidence``.
    confidence : {"agreed", "contested"} or None
        None without structure or without the test.
    picks : mapping of criterion to k
    verdict : str
        One plain sentence.
    evidence : Evidence or None
        For the rule ``evidence``.
    """

    k: int
    rule: str
    structure: bool | None
    confidence: str | None
    picks: Mapping[str, int]
    verdict: str
    evidence: Evidence | None


@dataclass(frozen=True)
class Fitted:
    """What a rule may look at."""

    Z: Array
    clusterings: Mapping[int, Clustering]
    curve: pd.DataFrame
    seed: int
    k: int | None
    k_min: int
    processes: int = 1

    @property
    def ks(self) -> list[int]:
        """The k a rule may name, ascending."""
        return [int(k) for k in sorted(self.curve.index) if k >= self.k_min]

    def column(self, name: str) -> pd.Series:
        """A criterion of the curve for the k >= 2 that a rule may name."""
        return self.curve.loc[[k for k in self.ks if k >= 2], name]


def choose(
    rule: str,
    Z: Array,
    clusterings: Mapping[int, Clustering],
    curve: pd.DataFrame,
    *,
    seed: int,
    k: int | None = None,
    k_min: int = 1,
) -> Choice:
    """Choose the number of segments from the fitted range.

    Parameters
    ----------
    rule : str
        A name of `CHOICES`.
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    curve : DataFrame
        Indexed by k (k=1 included) with columns ``wcss``, ``silhouette``, ``calinski_harabasz``.
    seed : int
    k : int, optional
        The number of segments; for the rule ``fixed`` and no other.
    k_min : int
        The smallest k a rule may name; "no structure" gives 1 all the same.

    Raises
    ------
    ConfigError
        Unknown rule, `k` missing or out of place, or a rule that no fitted k satisfies.
    """
    if rule not in CHOICES:
        raise ConfigError(f"choice={rule}: allowed are {', '.join(CHOICES)}.")
    if k is not None and rule != "fixed":
        raise ConfigError(
            f"choice.k={k} with choice={rule}: choice.k belongs to choice=fixed alone; "
            f"write choice=fixed choice.k={k} or leave choice.k out."
        )
    processes = free_processes(len(Z))
    # Matrices this small are slower on several threads, by a factor of six in CPU.
    with at_most(1):
        return CHOICES[rule](Fitted(Z, clusterings, curve, seed, k, k_min, processes))


def evidence(fitted: Fitted) -> Choice:
    """The gate, then ICL, with the confidence that five criteria give."""
    if max(fitted.ks) < 2:
        raise ConfigError(
            f"choice=evidence with k.max={max(fitted.ks)}: there is nothing to choose from; "
            "set k.max=2 or more, or choice=fixed choice.k=1."
        )
    found = gather(
        fitted.Z,
        fitted.clusterings,
        fitted.curve,
        seed=fitted.seed,
        k_min=fitted.k_min,
        processes=fitted.processes,
    )
    return Choice(
        k=found.k,
        rule="evidence",
        structure=found.gate.structure,
        confidence=found.confidence,
        picks=found.picks,
        verdict=_sentence(found),
        evidence=found,
    )


def _sentence(found: Evidence) -> str:
    if not found.gate.structure:
        return f"no cluster structure found: {found.gate.reason}"
    if found.confidence == "agreed":
        return f"{found.k} segments, agreed by {found.agreeing} of {len(found.picks)} criteria"
    by_k: dict[int, list[str]] = {}
    for name, k in found.picks.items():
        by_k.setdefault(k, []).append(CRITERIA[name].label)
    # The chosen k first, then the alternatives, the most named first.
    order = sorted(by_k, key=lambda k: (k != found.k, -len(by_k[k]), k))
    named = "; ".join(f"k={k} by {', '.join(by_k[k])}" for k in order)
    end = "; this is the largest k tried, raise k.max" if found.at_end else ""
    return f"{found.k} segments, contested: {named}{end}"


def silhouette(fitted: Fitted) -> Choice:
    """The highest mean silhouette."""
    k = criteria.highest(fitted.column("silhouette"))
    return _untested(fitted, "silhouette", k, "highest silhouette")


def elbow(fitted: Fitted) -> Choice:
    """The knee of the WCSS curve (kneedle: Satopaa et al. 2011)."""
    ks = fitted.ks
    if len(ks) < 3:
        raise ConfigError(
            f"choice=elbow with k={ks[0]}..{ks[-1]}: an elbow needs at least 3 values of k; "
            "widen k.min..k.max."
        )
    wcss = fitted.curve.loc[ks, "wcss"].tolist()
    # It imports pyplot, and no other rule needs it.
    from kneed import KneeLocator

    knee = KneeLocator(ks, wcss, curve="convex", direction="decreasing").knee
    k = None if knee is None else int(knee)
    return _untested(fitted, "elbow", k, "elbow of the WCSS curve")


def gap(fitted: Fitted) -> Choice:
    """The first k >= 2 whose gap the next one does not beat by more than its standard error.

    From 2 on: one group hides two behind a Gaussian with the same variances, so that the gap stops
    at 1 on most data with structure. Whether one group is enough is what ``evidence`` tests.
    """
    table = criteria.gap(fitted.Z, [k for k in fitted.ks if k >= 2], seed=fitted.seed)
    k = criteria.first_gap(table["gap"], table["gap_se"])
    return _untested(fitted, "gap", k, "gap statistic")


def icl(fitted: Fitted) -> Choice:
    """The lowest integrated completed likelihood."""
    asked = {k: fitted.clusterings[k] for k in fitted.ks}
    k = criteria.lowest(criteria.icl(fitted.Z, asked, seed=fitted.seed)["icl"])
    return _untested(fitted, "icl", k, "lowest ICL")


def prediction_strength(fitted: Fitted) -> Choice:
    """The largest k whose clusters in one half of the customers predict those in the other."""
    strength = criteria.prediction_strength(fitted.Z, fitted.ks, seed=fitted.seed)
    k = criteria.largest_strong(strength)
    return _untested(fitted, "prediction_strength", k, "prediction strength of at least 0.8")


def fixed(fitted: Fitted) -> Choice:
    """The k of the configuration."""
    allowed = [int(k) for k in sorted(fitted.clusterings) if k >= fitted.k_min]
    if fitted.k is None:
        raise ConfigError("choice=fixed needs the number of segments: add choice.k=5, for example.")
    if fitted.k not in allowed:
        raise ConfigError(
            f"choice.k={fitted.k} is outside the fitted range k={allowed[0]}..{allowed[-1]}: "
            "change choice.k, or k.min and k.max."
        )
    return _untested(fitted, "fixed", fitted.k, "set by the configuration")


def _untested(fitted: Fitted, rule: str, k: int | None, why: str) -> Choice:
    if k is None:
        ks = fitted.ks
        raise ConfigError(
            f"choice={rule} finds no k in k={ks[0]}..{ks[-1]}: widen the range (k.max=12), or take "
            "choice=evidence or choice=fixed."
        )
    return Choice(
        k=k,
        rule=rule,
        structure=None,
        confidence=None,
        picks={} if rule == "fixed" else {rule: k},
        verdict=f"{k} {'segment' if k == 1 else 'segments'}: {why} (structure untested)",
        evidence=None,
    )


CHOICES: dict[str, Callable[[Fitted], Choice]] = {
    "evidence": evidence,
    "silhouette": silhouette,
    "elbow": elbow,
    "gap": gap,
    "icl": icl,
    "prediction_strength": prediction_strength,
    "fixed": fixed,
}
