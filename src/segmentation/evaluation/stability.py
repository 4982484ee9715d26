"""Bootstrap stability: do the segments reappear when the customers are resampled?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.base import Clustering
from segmentation.clustering.batched import Fits, best_of, lloyd, plus_plus
from segmentation.clustering.rows import labels_of
from segmentation.evaluation.measure_settings import STABILITY
from segmentation.evaluation.sampling import sampled
from segmentation.runtime.threads import at_most

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stability:
    """How well each segment survives bootstrap resampling.

    Attributes
    ----------
    jaccard : ndarray of shape (k,)
        Jaccard similarity between each segment and the most similar segment of the refit, averaged
        over the bootstraps; in the order of the clustering's centres.
    status : tuple of str
        ``dissolved`` (at most 0.5), ``doubtful`` (below 0.75), ``stable`` (below 0.85) or
        ``very stable``, for each segment.
    recovered, dissolved : ndarray of shape (k,), int
        Number of bootstraps in which the similarity was at least 0.75, and at most 0.5.
    high : float
        Upper end of the 90 % interval of `stability`: the mean Jaccard of the weakest segment plus
        1.645 standard errors over the bootstraps, at most 1.
    ari : float
        Mean adjusted Rand index between refits, each applied to all rows.
    n_boot, rows : int
        Number of bootstraps, and of rows they were drawn from.
    """

    jaccard: Array
    status: tuple[str, ...]
    recovered: NDArray[np.int64]
    dissolved: NDArray[np.int64]
    high: float
    ari: float
    n_boot: int
    rows: int

    @property
    def stability(self) -> float:
        """Mean Jaccard of the weakest segment: one bad segment makes a bad segmentation."""
        return float(self.jaccard.min())

    @property
    def weakest(self) -> int:
        """Index of the weakest segment."""
        return int(self.jaccard.argmin())

    def as_dict(self) -> dict[str, Any]:
        """Return a dict that can be written as JSON."""
        return {
            "stability": self.stability,
            "stability_high": self.high,
            "jaccard": self.jaccard.tolist(),
            "status": list(self.status),
            "recovered": self.recovered.tolist(),
            "dissolved": self.dissolved.tolist(),
            "ari": self.ari,
            "n_boot": self.n_boot,
            "rows": self.rows,
        }


def bootstrap_stability(
    Z: Array, clustering: Clustering, *, seed: int, n_boot: int = 100
) -> Stability:
    """Bootstrap each cluster's stability (Hennig 2007, Comput. Stat. Data Anal. 52, section 3).

    Each bootstrap draws as many rows as there are with replacement, refits k centres and compares
    the partitions on the distinct rows drawn. Above 3,000 rows, a seeded sample of 3,000 is used.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    clustering : Clustering
    seed : int
    n_boot : int
        Number of bootstraps, at least 1.

    Returns
    -------
    Stability
    """
    X = sampled(Z, STABILITY.rows, seed)
    n, k = len(X), clustering.k
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=n_boot).astype(np.float64)
    with at_most(1):
        refits = _refit(X, clustering.centers, counts, rng)
    own = labels_of(X, clustering.centers)[None].astype(np.intp)
    jaccard = _jaccard(np.broadcast_to(own, refits.shape), refits, counts > 0, k)
    mean = jaccard.mean(axis=0)
    return Stability(
        jaccard=mean,
        status=tuple(_status(value) for value in mean),
        recovered=(jaccard >= STABILITY.stable).sum(axis=0),
        dissolved=(jaccard <= STABILITY.dissolved).sum(axis=0),
        high=_upper_end(jaccard[:, mean.argmin()]),
        ari=float(adjusted_rand(refits, np.roll(refits, 1, axis=0), k).mean()),
        n_boot=n_boot,
        rows=n,
    )


def _upper_end(similarities: Array) -> float:
    """Return the upper end of the 90 % interval of the mean, at most 1."""
    error = similarities.std(ddof=1) / np.sqrt(len(similarities)) if len(similarities) > 1 else 0.0
    return float(min(similarities.mean() + STABILITY.interval * error, 1.0))


def _status(jaccard: float) -> str:
    if jaccard <= STABILITY.dissolved:
        return "dissolved"
    if jaccard < STABILITY.stable:
        return "doubtful"
    return "stable" if jaccard < STABILITY.very_stable else "very stable"


def _refit(X: Array, centers: Array, counts: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """Label all rows by the centres refitted to each bootstrap, shape (n_boot, n)."""
    k, d = centers.shape
    best: Fits = lloyd(X[None], np.broadcast_to(centers, (len(counts), k, d)), counts)
    for _ in range(STABILITY.random_starts if k > 1 else 0):
        best = best_of(best, lloyd(X[None], plus_plus(X[None], k, rng, counts), counts))
    return best.labels


def _contingency(
    first: NDArray[np.intp], second: NDArray[np.intp], keep: NDArray[np.bool_] | None, k: int
) -> Array:
    """Count the rows in cluster i of one partition and j of the other, shape (B, k, k)."""
    B = len(first)
    cell = np.arange(B)[:, None] * k * k + first * k + second
    weights = None if keep is None else keep.astype(np.float64).ravel()
    table = np.bincount(cell.ravel(), weights, B * k * k)
    return table.reshape(B, k, k).astype(np.float64)


def _jaccard(
    own: NDArray[np.intp], refits: NDArray[np.intp], drawn: NDArray[np.bool_], k: int
) -> Array:
    """Return the similarity of each cluster to the most similar refitted one, shape (B, k)."""
    both = _contingency(own, refits, drawn, k)
    either = both.sum(axis=2, keepdims=True) + both.sum(axis=1, keepdims=True) - both
    # A segment without a drawn row cannot be found: its similarity is 0.
    best: Array = (both / np.maximum(either, 1.0)).max(axis=2)
    return best


def adjusted_rand(first: NDArray[np.intp], second: NDArray[np.intp], k: int) -> Array:
    """Compute the adjusted Rand index (Hubert & Arabie 1985, eq. 5) of B pairs, shape (B,).

    scikit-learn's version takes one pair of partitions at a time. On 200 rows it takes ten times
    as long because of its checks.

    Parameters
    ----------
    first, second : ndarray of shape (B, n)
        Labels in 0..k-1.
    k : int
    """
    table = _contingency(first, second, None, k)

    def pairs(counts: Array) -> Array:
        return counts * (counts - 1) / 2

    together = pairs(table).sum(axis=(1, 2))
    rows = pairs(table.sum(axis=2)).sum(axis=1)
    columns = pairs(table.sum(axis=1)).sum(axis=1)
    expected = rows * columns / np.maximum(pairs(table.sum(axis=(1, 2))), 1.0)
    spread = (rows + columns) / 2 - expected
    # Without spread, both partitions have all rows in one cluster or each row in its own.
    return np.where(spread > 0, (together - expected) / np.where(spread > 0, spread, 1.0), 1.0)
