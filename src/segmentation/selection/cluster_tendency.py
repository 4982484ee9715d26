"""Test whether the data have any cluster structure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import diptest
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmentation.clustering.base import Clustering
from segmentation.evaluation.sampling import sampled, unround, varying
from segmentation.runtime.threads import at_most
from segmentation.selection import criteria
from segmentation.selection.evidence_settings import TENDENCY
from segmentation.selection.null_models import NULLS, silhouette_maxima

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Gate:
    """The verdict on structure and the reasons for it.

    Attributes
    ----------
    structure : bool
    by : {"dip", "silhouette"} or None
        Which test found structure; None if neither did.
    reason : str
        In plain words.
    dip_p : mapping of k to float
        The largest p-value among the adjacent pairs of clusters; 1 if a pair is too small.
    silhouette : float or None
        The largest mean silhouette over k on the rows used.
    null_silhouette : mapping of str to float
        The largest mean silhouette in all draws of each null model.
    bands : DataFrame
        Indexed by k; ``low`` and ``high`` are the extremes over all null draws.
    rows : mapping of str to int
        How many customers each test used.
    """

    structure: bool
    by: str | None
    reason: str
    dip_p: Mapping[int, float] = field(default_factory=dict)
    silhouette: float | None = None
    null_silhouette: Mapping[str, float] = field(default_factory=dict)
    bands: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["low", "high"]))
    rows: Mapping[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return a dict that can be written as JSON, without the bands."""
        return {
            "structure": self.structure,
            "by": self.by,
            "reason": self.reason,
            "dip_p": {str(k): p for k, p in self.dip_p.items()},
            "silhouette": self.silhouette,
            "null_silhouette": dict(self.null_silhouette),
            "rows": dict(self.rows),
        }


def find_structure(
    Z: Array, clusterings: Mapping[int, Clustering], *, seed: int, icl: pd.Series | None = None
) -> Gate:
    """Decide whether the data have cluster structure.

    Structure is found if either test finds it:

    dip
        For some k >= 2 every pair of adjacent clusters is separated by a dip in density. The test
        of Hartigan & Hartigan (1985, Ann. Stat. 13) must reject a single mode for the points of
        both clusters, projected on the line through their centres.
    silhouette
        The largest mean silhouette over k exceeds the value of every draw of every null model in
        `segmentation.selection.null_models.NULLS`, all clustered by the same procedure. ICL must
        also prefer several Gaussians to one, because a single group of an odd shape can have a
        high silhouette too.

    Repeated values are first spread over their rounding interval: both tests take ties for modes.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
        Every fitted k; k=1 is ignored.
    seed : int
    icl : Series, optional
        `segmentation.selection.criteria.icl` of the same clusterings (k=1 included), if known.

    Returns
    -------
    Gate
    """
    reason = untestable(Z, clusterings)
    if reason is not None:
        return Gate(structure=False, by=None, reason=reason)
    ks = [k for k in sorted(clusterings) if k >= 2]
    rows = sampled(Z, TENDENCY.dip_rows, seed)
    columns = varying(rows)
    with at_most(1):
        X = unround(rows[:, columns], seed)
        rng = np.random.default_rng(seed)
        centers = {k: clusterings[k].centers[:, columns] for k in ks}
        dips = {k: _worst_dip(X, centers[k], rng) for k in ks}
        few = X[np.sort(rng.permutation(len(X))[: TENDENCY.silhouette_rows])]
        own, nulls = silhouette_maxima(few, ks, rng)
        if icl is None:
            icl = criteria.icl(Z, clusterings, seed=seed)["icl"]
    looked_at = {"dip": len(X), "silhouette": len(few)}
    return _judge(dips, own, nulls, criteria.lowest(icl), looked_at)


def untestable(Z: Array, clusterings: Mapping[int, Clustering]) -> str | None:
    """Return why these data cannot be tested, or None if they can."""
    least = TENDENCY.min_customers
    if len(Z) < least:
        return f"only {len(Z)} customers; at least {least} are needed to tell groups from noise"
    if not varying(Z).any():
        return "all customers are equal in every feature"
    if max(clusterings) < 2:
        return "only k=1 was fitted, so there is nothing to compare one group with"
    return None


def _judge(
    dips: dict[int, float],
    own: pd.Series,
    nulls: Mapping[str, pd.DataFrame],
    mixture: int | None,
    rows: Mapping[str, int],
) -> Gate:
    best_k = min(dips, key=lambda k: dips[k])
    reached = float(own.max())
    null_maxima = {name: float(values.to_numpy().max()) for name, values in nulls.items()}
    rival = max(null_maxima, key=lambda name: null_maxima[name])
    every = pd.concat(nulls.values())
    by = None
    if dips[best_k] < TENDENCY.alpha:
        by = "dip"
        reason = (
            f"at k={best_k} every pair of neighbouring clusters is separated by a dip in density "
            f"(largest p{_p_value(dips[best_k])})"
        )
    elif reached > null_maxima[rival] and mixture != 1:
        by = "silhouette"
        reason = (
            f"the silhouette reaches {reached:.2f}; on data without clusters it reaches at most "
            f"{null_maxima[rival]:.2f}"
        )
    elif reached > null_maxima[rival]:
        reason = (
            f"no dip in density between clusters (smallest p={dips[best_k]:.2f}) and ICL prefers "
            f"one Gaussian to several, although the silhouette reaches {reached:.2f}"
        )
    else:
        reason = (
            f"no dip in density between clusters (smallest p={dips[best_k]:.2f}), and the "
            f"silhouette is {reached:.2f} while {NULLS[rival].words} reach {null_maxima[rival]:.2f}"
        )
    return Gate(
        structure=by is not None,
        by=by,
        reason=reason,
        dip_p=dips,
        silhouette=reached,
        null_silhouette=null_maxima,
        bands=pd.DataFrame({"low": every.min(), "high": every.max()}),
        rows=rows,
    )


def _worst_dip(X: Array, centers: Array, rng: np.random.Generator) -> float:
    """Return the largest dip p-value among adjacent pairs; 1 if a pair cannot be separated."""
    worst = 0.0
    for left, right in _adjacent(X, centers):
        if min(len(left), len(right)) < TENDENCY.min_cluster:
            return 1.0
        cap = TENDENCY.max_imbalance * min(len(left), len(right))
        left, right = rng.permutation(left)[:cap], rng.permutation(right)[:cap]
        within = (left.var() * len(left) + right.var() * len(right)) / (len(left) + len(right))
        if (left.mean() - right.mean()) ** 2 < TENDENCY.min_separation**2 * within:
            return 1.0
        worst = max(worst, float(diptest.diptest(np.concatenate([left, right]))[1]))
    return worst


def _adjacent(X: Array, centers: Array) -> Iterator[tuple[Array, Array]]:
    """Yield the points of each adjacent pair, projected on the line through their centres."""
    k = len(centers)
    distances = -2 * X @ centers.T + (centers**2).sum(axis=1)
    first = distances.argmin(axis=1)
    distances[np.arange(len(X)), first] = np.inf
    second = distances.argmin(axis=1)
    neighbours = np.bincount(first * k + second, minlength=k * k).reshape(k, k)
    share = neighbours / np.maximum(neighbours.sum(axis=1, keepdims=True), 1)
    for i, j in combinations(range(k), 2):
        if max(share[i, j], share[j, i]) >= TENDENCY.adjacent_share:
            line = centers[j] - centers[i]
            yield X[first == i] @ line, X[first == j] @ line


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.0005 else f"={p:.3f}"
