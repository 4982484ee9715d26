"""Silhouettes of every k from one pass over the pairwise distances, sampled on large data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.spatial.distance import cdist

from segmentation.clustering.base import Clustering
from segmentation.evaluation.measure_settings import SILHOUETTES
from segmentation.evaluation.sampling import sample_rows


@dataclass(frozen=True)
class Silhouettes:
    """Silhouette of each (sampled) customer for every k >= 2.

    Attributes
    ----------
    rows : dict of int to ndarray of shape (m,), int
        For each k, the positions of the measured customers: all, up to `SILHOUETTES.rows`.
    values : dict of int to ndarray of shape (m,)
        For each k, their silhouettes. k=1 is absent because its silhouette is not defined.
    labels : dict of int to ndarray of shape (m,)
        Their clusters.
    shares : dict of int to ndarray of shape (k,)
        Share of all customers in each cluster.
    influence : dict of int to ndarray of shape (m,)
        Each measured customer's contribution to the mean, through its own silhouette and through
        the mean distances used for all other silhouettes. Empty if all customers are measured.
    """

    rows: Mapping[int, NDArray[np.intp]]
    values: Mapping[int, NDArray[np.float64]]
    labels: Mapping[int, NDArray[np.int32]]
    shares: Mapping[int, NDArray[np.float64]]
    influence: Mapping[int, NDArray[np.float64]]

    @property
    def sampled(self) -> bool:
        """Whether the values come from a sample of the customers."""
        return bool(self.influence)

    def mean(self, k: int) -> float:
        """Mean silhouette of all customers; clusters are weighted by their true sizes."""
        return float((self.shares[k] * self._means(self.values[k], k)).sum())

    def standard_error(self, k: int) -> float:
        """Standard error of `mean` over samples stratified by cluster (Cochran 1977, eq. 5.7).

        Linearised with the delta method. The errors of silhouettes from one sample are correlated
        because they share the mean distances to its clusters. In one case their scatter alone
        understated the error sevenfold, for the neighbours of a small, distant cluster.
        """
        own, labels = self.influence[k], self.labels[k]
        counts = np.bincount(labels, minlength=k)
        off = np.bincount(labels, (own - self._means(own, k)[labels]) ** 2, k)
        return float(np.sqrt((off * counts / np.maximum(counts - 1, 1)).sum()))

    def _means(self, values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
        counts = np.bincount(self.labels[k], minlength=k)
        means: NDArray[np.float64] = np.bincount(self.labels[k], values, k) / np.maximum(counts, 1)
        return means

    def updated(self, other: Silhouettes) -> Silhouettes:
        """Return a copy in which the ks of `other` replace the present ones."""
        return Silhouettes(
            {**self.rows, **other.rows},
            {**self.values, **other.values},
            {**self.labels, **other.labels},
            {**self.shares, **other.shares},
            {**self.influence, **other.influence},
        )


def silhouettes(
    Z: NDArray[np.float64], clusterings: Mapping[int, Clustering], *, seed: int
) -> Silhouettes:
    """Compute the silhouettes for all k in one pass over the pairwise distances.

    ``s(i) = (b - a) / max(a, b)``, where a is the mean distance to the other members of the own
    cluster and b the smallest mean distance to another cluster; 0 in a cluster of one (Rousseeuw
    1987, J. Comput. Appl. Math. 20, eq. 2; the same conventions as scikit-learn). On a sample the
    means are over the sampled members, and clusters are weighted by their true sizes.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    seed : int
        Seed of the sample that is drawn above `SILHOUETTES.rows` rows.
    """
    ks = [k for k in clusterings if k >= 2]
    n = len(Z)
    sampled = n > SILHOUETTES.rows
    rows = sample_rows(Z, SILHOUETTES.sample, seed) if sampled else np.arange(n)
    labels = {k: clusterings[k].labels_at(rows) for k in ks}
    if sampled:
        # Rows added for one k count for that k only; for another k they would bias the sample.
        more = {k: _more_rows(clusterings[k], rows, labels[k], seed) for k in ks}
        base, rows = rows, np.unique(np.concatenate([rows, *more.values()]))
        own = {k: np.isin(rows, base) | np.isin(rows, more[k]) for k in ks}
        labels = {k: clusterings[k].labels_at(rows) for k in ks}
    else:
        own = dict.fromkeys(ks, np.ones(n, dtype=bool))
    X = Z[rows].astype(np.float64, copy=False)
    dtype = np.float32 if len(X) > SILHOUETTES.double_precision_rows else np.float64
    shares = {k: clusterings[k].sizes / clusterings[k].sizes.sum() for k in ks}
    # All ks side by side: one product takes half the time of a product per k.
    ends = np.cumsum([0, *ks])
    columns = {k: slice(start, start + k) for k, start in zip(ks, ends, strict=False)}
    members = np.zeros((len(X), ends[-1]), dtype)
    for k in ks:
        members[:, columns[k]] = np.eye(k)[labels[k]] * own[k][:, None]
    counts = members.sum(axis=0, dtype=np.float64)
    # Weight of each measured customer in the mean.
    each = {k: own[k] * (shares[k] / np.maximum(counts[columns[k]], 1.0))[labels[k]] for k in ks}
    values = {k: np.zeros(len(X)) for k in ks}
    slopes = np.zeros((SILHOUETTES.chunk, ends[-1]), dtype)
    pull = np.zeros(members.shape)
    for start, distances in _distances(X, dtype):
        part = slice(start, start + len(distances))
        sums = (distances @ members).astype(np.float64)
        for k in ks:
            own_sums, own_counts = sums[:, columns[k]], counts[columns[k]]
            values[k][part], slope = _silhouette(own_sums, labels[k][part], own_counts)
            if sampled:
                slopes[: len(slope), columns[k]] = each[k][part, None] * slope
        if sampled:
            pull += distances.T @ slopes[: len(distances)]
    every = np.arange(len(X))
    influence = {
        k: (each[k] * values[k] + pull[every, columns[k].start + labels[k]])[own[k]]
        for k in (ks if sampled else ())
    }
    return Silhouettes(
        rows={k: rows[own[k]] for k in ks},
        values={k: values[k][own[k]] for k in ks},
        labels={k: labels[k][own[k]] for k in ks},
        shares=shares,
        influence=influence,
    )


def _more_rows(
    clustering: Clustering, rows: NDArray[np.intp], labels: NDArray[np.int32], seed: int
) -> NDArray[np.intp]:
    """Return extra rows of the clusters that have too few rows in the sample."""
    counts = np.bincount(labels, minlength=clustering.k)
    few = np.flatnonzero(counts < np.minimum(clustering.sizes, SILHOUETTES.fewest))
    if not len(few):
        return rows[:0]
    rng = np.random.default_rng(seed)
    every = clustering.labels
    chosen = [rng.permutation(np.flatnonzero(every == j))[: SILHOUETTES.fewest] for j in few]
    return np.concatenate(chosen)


def _distances(
    X: NDArray[np.float64], dtype: DTypeLike
) -> Iterator[tuple[int, NDArray[np.floating[Any]]]]:
    """Yield the distances of each chunk of rows to all rows, with the chunk's first position."""
    if np.dtype(dtype) == np.float64:
        for start in range(0, len(X), SILHOUETTES.chunk):
            yield start, cdist(X[start : start + SILHOUETTES.chunk], X)
        return
    scale = float(np.abs(X).max()) or 1.0
    X = (X - X.mean(axis=0)) / scale
    single = np.ascontiguousarray(X, dtype=dtype)
    squares = np.einsum("nd,nd->n", single, single)
    for start in range(0, len(X), SILHOUETTES.chunk):
        part = slice(start, start + SILHOUETTES.chunk)
        squared = single[part] @ single.T
        squared *= -2.0
        squared += squares
        squared += squares[part, None]
        np.maximum(squared, 0.0, out=squared)
        # With rounding errors a row is not at distance zero from itself.
        squared[np.arange(len(squared)), np.arange(start, start + len(squared))] = 0.0
        yield start, np.sqrt(squared, out=squared)


def _silhouette(
    sums: NDArray[np.float64], labels: NDArray[np.int32], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute silhouettes and their derivatives from the sums of distances to every cluster.

    Silhouettes have shape (rows,); the sums and the derivatives by them have shape (rows, k).
    """
    every = np.arange(len(labels))
    own = every, labels
    a = sums[own] / np.maximum(counts[labels] - 1, 1)
    # A cluster without sampled members cannot be the nearest.
    others = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    others[own] = np.inf
    other = others.argmin(axis=1)
    b = others[every, other]
    scale = np.maximum(a, b)
    lonely = (counts[labels] < 2) | (scale == 0) | ~np.isfinite(b)
    scale, a, b = (np.where(lonely, fill, x) for x, fill in ((scale, 1.0), (a, 0.0), (b, 0.0)))
    slopes = np.zeros_like(sums)
    # 1 - a / b where a < b, else b / a - 1.
    slopes[own] = -np.where(a < b, 1 / scale, b / scale**2) / np.maximum(counts[labels] - 1, 1)
    slopes[every, other] = np.where(a < b, a / scale**2, 1 / scale) / np.maximum(counts[other], 1)
    slopes[lonely] = 0.0
    return (b - a) / scale, slopes
