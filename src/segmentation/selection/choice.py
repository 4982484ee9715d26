"""Rules that choose k. To add one, write a function and add a line to `CHOICES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

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
    """The chosen number of segments and the confidence in it.

    Attributes
    ----------
    k : int
        1 if there is no structure, whatever the range.
    rule : str
        A name of `CHOICES`.
    structure : bool or None
        None if the rule does not test for structure; only ``evidence`` does.
    confidence : {"agreed", "contested"} or None
        None if there is no structure or it was not tested.
    picks : mapping of criterion to k
    verdict : str
        One plain sentence.
    evidence : Evidence or None
        None for every rule except ``evidence``.
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
    """The data a rule can use.

    Attributes
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    curve : DataFrame
        The metrics of every k, indexed by k.
    seed : int
    k_min : int
        The smallest k that a rule may choose.
    options : mapping
        The config keys given for the rule, such as ``k`` for ``choice.k``.
    features : sequence of str or None
        Feature that each column of `Z` belongs to.
    processes : int
        The number of processes that may be used.
    """

    Z: Array
    clusterings: Mapping[int, Clustering]
    curve: pd.DataFrame
    seed: int
    k_min: int
    options: Mapping[str, Any] = field(default_factory=dict)
    features: Sequence[str] | None = None
    processes: int = 1

    @property
    def ks(self) -> list[int]:
        """The values of k that a rule may choose, ascending."""
        return [int(k) for k in sorted(self.curve.index) if k >= self.k_min]

    def column(self, name: str) -> pd.Series:
        """A column of the curve for the k >= 2 that a rule may choose."""
        return self.curve.loc[[k for k in self.ks if k >= 2], name]


@dataclass(frozen=True)
class Rule:
    """A line of `CHOICES`: how to choose k and how to explain the choice.

    Attributes
    ----------
    pick : callable
        Takes `Fitted`. Returns the chosen k, or None if no fitted k qualifies. A rule that also
        tests for structure returns a whole `Choice` instead.
    words : str
        The reason for this k, as in "4 segments: highest silhouette".
    keys : mapping of str to type
        Config keys below ``choice`` that the rule takes in addition to ``name``.
    is_criterion : bool
        True if k is chosen from the data, False if the user sets it.
    """

    pick: Callable[[Fitted], int | Choice | None]
    words: str = ""
    keys: Mapping[str, type] = field(default_factory=dict)
    is_criterion: bool = True


def choose(
    choice: str | Mapping[str, Any],
    Z: Array,
    clusterings: Mapping[int, Clustering],
    curve: pd.DataFrame,
    *,
    seed: int,
    k: int | None = None,
    k_min: int = 1,
    features: Sequence[str] | None = None,
) -> Choice:
    """Choose the number of segments from the fitted range.

    Parameters
    ----------
    choice : str or mapping
        A name of `CHOICES`, or a mapping with the ``name`` and the rule's own keys.
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    curve : DataFrame
        Indexed by k (k=1 included) with columns ``wcss``, ``silhouette``, ``calinski_harabasz``.
    seed : int
    k : int, optional
        The rule's key ``k``: the number of segments for ``fixed``.
    k_min : int
        The smallest k a rule may choose. "No structure" gives 1 whatever its value.
    features : sequence of str, length d, optional
        Feature that each column of `Z` belongs to, if a feature has several.

    Raises
    ------
    ConfigError
        The rule is unknown, a key is missing or not allowed, or no fitted k satisfies the rule.
    """
    name, options = check(choice, k)
    rule = CHOICES[name]
    processes = free_processes(len(Z))
    fitted = Fitted(Z, clusterings, curve, seed, k_min, options, features, processes)
    # Matrices this small are slower on several threads: they take six times the CPU.
    with at_most(1):
        found = rule.pick(fitted)
    return found if isinstance(found, Choice) else _untested(fitted, name, rule, found)


def check(choice: str | Mapping[str, Any], k: int | None = None) -> tuple[str, Mapping[str, Any]]:
    """Return the name of a rule and its options, checked before anything is fitted.

    Parameters
    ----------
    choice : str or mapping
        See `choose`.
    k : int, optional
        The same as a key ``k`` in the mapping.

    Raises
    ------
    ConfigError
        The rule is unknown, it does not take a key, or a value has the wrong type.
    """
    options = {} if isinstance(choice, str) else {str(key): choice[key] for key in choice}
    name = str(options.pop("name", None) if options else choice)
    if name not in CHOICES:
        raise ConfigError(f"choice={name}: allowed are {', '.join(CHOICES)}.")
    if k is not None:
        options["k"] = k
    keys = CHOICES[name].keys
    for key, value in options.items():
        if key not in keys:
            raise ConfigError(_out_of_place(name, key, value))
        abstract, wanted = _KINDS[keys[key]]
        if value is not None and not isinstance(value, abstract):
            raise ConfigError(f"choice.{key}={value}: the value must be {wanted}.")
    return name, options


_KINDS: Mapping[type, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    str: (str, "text"),
    bool: (bool, "true or false"),
}


def _out_of_place(name: str, key: str, value: object) -> str:
    owners = [other for other, rule in CHOICES.items() if key in rule.keys]
    if not owners:
        takes = ", ".join(f"choice.{each}" for each in CHOICES[name].keys) or "no key"
        return f"choice={name} has no key {key}; it takes {takes}."
    return (
        f"choice.{key}={value} with choice={name}: choice.{key} only applies to "
        f"choice={' and '.join(owners)}; use choice={owners[0]} choice.{key}={value} or "
        f"leave choice.{key} out."
    )


def evidence(fitted: Fitted) -> Choice:
    """Test for structure, then choose k by ICL and silhouette, with a confidence."""
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
        features=fitted.features,
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
    # The chosen k first, then the alternatives by number of criteria.
    order = sorted(by_k, key=lambda k: (k != found.k, -len(by_k[k]), k))
    named = "; ".join(f"k={k} by {', '.join(by_k[k])}" for k in order)
    end = "; this is the largest k tried, raise k.max" if found.at_end else ""
    return f"{found.k} segments, contested: {named}{end}"


def silhouette(fitted: Fitted) -> int | None:
    """Choose the k with the highest mean silhouette."""
    return criteria.highest(fitted.column("silhouette"))


def elbow(fitted: Fitted) -> int | None:
    """Choose the knee of the WCSS curve (kneedle: Satopaa et al. 2011)."""
    ks = fitted.ks
    if len(ks) < 3:
        raise ConfigError(
            f"choice=elbow with k={ks[0]}..{ks[-1]}: an elbow needs at least 3 values of k; "
            "widen k.min..k.max."
        )
    wcss = fitted.curve.loc[ks, "wcss"].tolist()
    # Imported here because kneed imports pyplot and no other rule needs it.
    from kneed import KneeLocator

    knee = KneeLocator(ks, wcss, curve="convex", direction="decreasing").knee
    return None if knee is None else int(knee)


def gap(fitted: Fitted) -> int | None:
    """Choose the first k >= 2 whose gap the next k does not beat by more than its standard error.

    The search starts at 2. A Gaussian with the same variances can hide two groups, so the gap
    stops at 1 on most data with structure. ``evidence`` tests whether one group is enough.
    """
    table = criteria.gap(fitted.Z, [k for k in fitted.ks if k >= 2], seed=fitted.seed)
    return criteria.first_gap(table["gap"], table["gap_se"])


def icl(fitted: Fitted) -> int | None:
    """Choose the k with the lowest integrated completed likelihood."""
    asked = {k: fitted.clusterings[k] for k in fitted.ks}
    return criteria.lowest(criteria.icl(fitted.Z, asked, seed=fitted.seed)["icl"])


def prediction_strength(fitted: Fitted) -> int | None:
    """Choose the largest k whose clusters in one half of the customers predict the other half's."""
    strength = criteria.prediction_strength(fitted.Z, fitted.ks, seed=fitted.seed)
    return criteria.largest_strong(strength)


def fixed(fitted: Fitted) -> int:
    """Return the k set in the configuration."""
    allowed = [int(k) for k in sorted(fitted.clusterings) if k >= fitted.k_min]
    k = fitted.options.get("k")
    if k is None:
        raise ConfigError("choice=fixed needs the number of segments: add choice.k=5, for example.")
    if k not in allowed:
        raise ConfigError(
            f"choice.k={k} is outside the fitted range k={allowed[0]}..{allowed[-1]}: "
            "change choice.k, or k.min and k.max."
        )
    return int(k)


def _untested(fitted: Fitted, name: str, rule: Rule, k: int | None) -> Choice:
    if k is None:
        ks = fitted.ks
        raise ConfigError(
            f"choice={name} finds no k in k={ks[0]}..{ks[-1]}: widen the range (k.max=12), or use "
            "choice=evidence or choice=fixed."
        )
    segments = "segment" if k == 1 else "segments"
    return Choice(
        k=k,
        rule=name,
        structure=None,
        confidence=None,
        picks={name: k} if rule.is_criterion else {},
        verdict=f"{k} {segments}: {rule.words or name} (structure untested)",
        evidence=None,
    )


#: Every rule by its name in the config. A new rule is a function, a line here and a YAML file.
CHOICES: dict[str, Rule] = {
    "evidence": Rule(evidence),
    "silhouette": Rule(silhouette, "highest silhouette"),
    "elbow": Rule(elbow, "elbow of the WCSS curve"),
    "gap": Rule(gap, "gap statistic"),
    "icl": Rule(icl, "lowest ICL"),
    "prediction_strength": Rule(prediction_strength, "prediction strength of at least 0.8"),
    "fixed": Rule(fixed, "set by the configuration", keys={"k": int}, is_criterion=False),
}
