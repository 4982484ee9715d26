"""Many small K-Means fits at once.

The evidence needs hundreds of K-Means fits of a few hundred rows (null data, bootstraps, half
samples). Called one by one, scikit-learn would spend most of the time on per-call overhead; here
one NumPy operation serves all problems. Equal treatment matters more than the quality of a single
fit: every statistic built on these fits compares fits from this same procedure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering import seeding
from segmentation.clustering.seeding import nearest

Array = NDArray[np.float64]
# Maximum number of Lloyd steps. Not measured.
MAX_ITER = 60


@dataclass(frozen=True)
class Fits:
    """The best fit of each of B problems for one k.

    Attributes
    ----------
    centers : ndarray of shape (B, k, d)
    labels : ndarray of shape (B, n), int
    wcss : ndarray of shape (B,)
    """

    centers: Array
    labels: NDArray[np.intp]
    wcss: Array


def lloyd(X: Array, centers: Array, weights: Array | None = None) -> Fits:
    """Run Lloyd's algorithm from given centres on B problems together.

    Parameters
    ----------
    X : ndarray of shape (B, n, d), or (1, n, d) for problems that share their rows
    centers : ndarray of shape (B, k, d)
    weights : ndarray of shape (B, n), optional
        Weight of each row in each problem; a row of weight 0 is labelled but moves no centre.
    """
    B, n = len(centers), X.shape[1]
    centers = centers.copy()
    labels = np.full((B, n), -1, dtype=np.intp)
    near = np.zeros((B, n))
    going, active = _Problems.of(X), np.arange(B)
    for _ in range(MAX_ITER):
        new, near[active] = going.assign(centers[active])
        moved = (new != labels[active]).any(axis=1)
        labels[active] = new
        if not moved.any():
            break
        if not moved.all():
            going, active = going.some(moved), active[moved]
        w = None if weights is None else weights[active]
        centers[active] = _means(going.X, labels[active], centers[active], w)
    wcss = near.sum(axis=1) if weights is None else (near * weights).sum(axis=1)
    return Fits(centers, labels, wcss)


@dataclass(frozen=True)
class _Problems:
    """The rows of B problems, or the shared rows (1, n, d) of all problems."""

    X: Array
    squares: Array

    @classmethod
    def of(cls, X: Array) -> _Problems:
        return cls(X, np.einsum("bnd,bnd->bn", X, X))

    def at(self, rows: NDArray[np.intp]) -> Array:
        problem = 0 if self.X.shape[0] == 1 else np.arange(self.X.shape[0])
        chosen: Array = self.X[problem, rows]
        return chosen

    def squares_to(self, centers: Array) -> Array:
        half = self._half_distances(centers)
        return self._from_half(half[:, 0] if centers.shape[1] == 1 else half.min(axis=1))

    def some(self, kept: NDArray[np.bool_]) -> _Problems:
        """Return the problems that are not finished."""
        return self if self.X.shape[0] == 1 else _Problems(self.X[kept], self.squares[kept])

    def assign(self, centers: Array) -> tuple[NDArray[np.intp], Array]:
        """Return each row's nearest centre and the squared distance to it, both (B, n)."""
        labels, best = nearest(self._half_distances(centers), axis=1)
        return labels.astype(np.intp), self._from_half(best)

    def _half_distances(self, centers: Array) -> Array:
        """Return half the squared distances minus half the rows' squares, shape (B, k, n)."""
        product = np.matmul(centers, self.X.transpose(0, 2, 1))
        half = 0.5 * np.einsum("bkd,bkd->bk", centers, centers)
        distances: Array = np.subtract(half[:, :, None], product, out=product)
        return distances

    def _from_half(self, half: Array) -> Array:
        return np.maximum(self.squares + 2 * half, 0.0)


def _means(X: Array, labels: NDArray[np.intp], old: Array, weights: Array | None) -> Array:
    """Return the weighted mean of each cluster; an emptied cluster keeps its old centre."""
    B, k, d = old.shape
    cell = (labels + k * np.arange(B)[:, None]).ravel()
    mass = np.bincount(cell, None if weights is None else weights.ravel(), B * k)
    sums = np.empty((B * k, d))
    for j in range(d):
        column = np.broadcast_to(X[:, :, j], labels.shape)
        values = column if weights is None else column * weights
        sums[:, j] = np.bincount(cell, values.ravel(), B * k)
    full = mass > 0
    means = old.reshape(B * k, d).copy()
    means[full] = sums[full] / mass[full, None]
    return means.reshape(B, k, d)


def plus_plus(
    X: Array,
    k: int,
    rng: np.random.Generator,
    weights: Array | None = None,
    start: Array | None = None,
) -> Array:
    """Choose centres by greedy k-means++ on B problems together, shape (B, k, d).

    Parameters
    ----------
    start : ndarray of shape (B, m, d), optional
        Existing centres; the missing k - m are added.
    """
    mass = np.ones(X.shape[:2]) if weights is None else weights
    candidates = 2 + int(np.log(k))
    problems = _Problems.of(X)
    return seeding.plus_plus(problems, mass, k, X.shape[2], rng, candidates=candidates, known=start)


def best_of(first: Fits, second: Fits) -> Fits:
    """Return the better fit of each problem."""
    take = second.wcss < first.wcss
    return Fits(
        np.where(take[:, None, None], second.centers, first.centers),
        np.where(take[:, None], second.labels, first.labels),
        np.where(take, second.wcss, first.wcss),
    )


def fit_path(
    X: Array, ks: Iterable[int], rng: np.random.Generator, weights: Array | None = None
) -> dict[int, Fits]:
    """Fit every k from 1 to the largest requested one, each from two starts.

    One start adds a centre to the best fit of k - 1, so WCSS does not rise with k; the other is
    k-means++.

    Returns
    -------
    dict
        Maps each requested k to its `Fits`.
    """
    wanted = set(ks)
    B = X.shape[0] if weights is None else weights.shape[0]
    fits: dict[int, Fits] = {}
    best = lloyd(X, np.zeros((B, 1, X.shape[2])), weights)
    for k in range(1, max(wanted, default=0) + 1):
        if k > 1:
            grown = lloyd(X, plus_plus(X, k, rng, weights, start=best.centers), weights)
            best = best_of(grown, lloyd(X, plus_plus(X, k, rng, weights), weights))
        if k in wanted:
            fits[k] = best
    return fits
