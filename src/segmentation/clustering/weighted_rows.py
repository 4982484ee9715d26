"""The rows of the search and its solutions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.assignment import Floats

Labels = NDArray[np.int16]


@dataclass(frozen=True)
class Solution:
    """One K-Means solution on distinct rows: centres (k, d), labels (m,) and WCSS."""

    centers: Floats
    labels: Labels
    wcss: float

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centers)


@dataclass(frozen=True)
class WeightedRows:
    """Distinct rows with positive weights, the input of the search.

    Attributes
    ----------
    X : ndarray of shape (m, d)
        Distinct rows, centred on their mean.
    w : ndarray of shape (m,)
        Weight of each row.
    by_difference : bool
        Compute distances from coordinate differences. The matrix product is several times faster
        but loses about ``|x|² eps``, which matters if the clusters are tiny relative to the spread.
    """

    X: Floats
    w: Floats
    by_difference: bool = False

    @property
    def m(self) -> int:
        """Number of distinct rows."""
        return len(self.X)

    @cached_property
    def same_weight(self) -> bool:
        """Whether all rows have the same weight; in most tables no row occurs twice."""
        return bool(np.all(self.w == self.w[0]))

    @cached_property
    def squares(self) -> Floats:
        """Squared length of each row."""
        squares: Floats = np.vecdot(self.X, self.X)
        return squares

    @cached_property
    def _product(self) -> Floats:
        """Right side of [c, |c|², 1] @ [-2 x; 1; |x|²] = |c - x|², shape (d + 2, m)."""
        return np.vstack([-2.0 * self.X.T, np.ones(self.m), self.squares])

    @cached_property
    def weighted(self) -> Floats:
        """Columns [w, w x], whose sums over a cluster give its weight and its mean."""
        return np.column_stack([self.w, self.w[:, None] * self.X])

    def drawn(self, size: int, rng: np.random.Generator) -> WeightedRows:
        """Return a coreset of at most `size` rows (Bachem, Lucic & Krause 2018, alg. 1).

        Half the draws are by weight, half by the share of the total sum of squares, so that a
        small, distant cluster is not missed; weights are divided by the chance of being drawn.
        """
        if size >= self.m:
            return self
        spread = self.w * self.squares
        chance = 0.5 * self.w / self.w.sum() + 0.5 * spread / spread.sum()
        drawn, times = np.unique(rng.choice(self.m, size, p=chance), return_counts=True)
        return WeightedRows(self.X[drawn], self.w[drawn] * times / (size * chance[drawn]))

    def distances(self, centers: Floats) -> Floats:
        """Return squared distances to centres (b, k, d) as an array (k, b, m).

        For a row that is its own centre, rounding may give a value below zero.
        """
        b, k, d = centers.shape
        C = centers.transpose(1, 0, 2)
        if self.by_difference:
            D = np.zeros((k, b, self.m))
            for column in range(d):
                D += (self.X[:, column] - C[:, :, column, None]) ** 2
            return D
        left = np.empty((k, b, d + 2))
        left[:, :, :d] = C
        np.vecdot(C, C, out=left[:, :, d])
        left[:, :, d + 1] = 1.0
        product: Floats = left.reshape(k * b, d + 2) @ self._product
        return product.reshape(k, b, self.m)

    def at(self, rows: NDArray[np.intp]) -> Floats:
        """Return some of the rows."""
        return self.X[rows]

    def squares_to(self, centers: Floats) -> Floats:
        """Return squared distances (b, m) to each start's nearest centre, of centres (b, k, d)."""
        D = self.distances(centers)
        near: Floats = D[0] if len(D) == 1 else D.min(axis=0)
        return near

    def means(self, labels: Labels, k: int) -> tuple[Floats, Floats]:
        """Return means (b, k, d) and weights (b, k) for labels (b, m); NaN for an empty cluster."""
        b = len(labels)
        members = labels[:, None] == np.arange(k, dtype=labels.dtype)[:, None]
        sums = members.reshape(b * k, self.m).astype(np.float64) @ self.weighted
        sums = sums.reshape(b, k, -1)
        weights = sums[:, :, 0]
        return sums[:, :, 1:] / weights[:, :, None], weights

    @cached_property
    def total(self) -> float:
        """Weighted sum of all squares."""
        return float(self.w @ self.squares)

    def wcss(self, means: Floats, weights: Floats) -> Floats:
        """Return the WCSS (b,) of cluster means and weights; infinite if a cluster is empty."""
        between = (weights * np.vecdot(means, means)).sum(axis=1)
        return np.where(np.isnan(between), np.inf, self.total - between)


def own_places(labels: Labels) -> NDArray[np.intp]:
    """Return where each row's own cluster is in a flat array (k, b, m), for labels (b, m)."""
    b, m = labels.shape
    places: NDArray[np.intp] = labels.astype(np.intp) * (b * m) + np.arange(b * m).reshape(b, m)
    return places


def fill_empty(labels: Labels, cost: Floats, k: int) -> None:
    """Move the costliest row of a cluster with several rows to each empty cluster, in place.

    Working on labels instead of centres, it terminates even if distances underflow to zero. The
    WCSS cannot rise, because the row gets a cluster of its own.
    """
    for own, price in zip(labels, cost, strict=True):
        counts = np.bincount(own, minlength=k)
        for j in np.flatnonzero(counts == 0):
            row = int(np.where(counts[own] > 1, price, -1.0).argmax())
            counts[own[row]] -= 1
            counts[j] += 1
            own[row] = j
