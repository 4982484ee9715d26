"""Many small K-Means fits at once.

The evidence needs hundreds of K-Means fits of a few hundred rows (null data, bootstraps, half
samples). Called one by one, scikit-learn spends most of that time in per-call overhead; here one
NumPy operation serves all problems. Quality of a single fit is second to equal treatment: every
statistic built on it compares fits made by this same procedure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_MAX_ITER = 60


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
    """Lloyd's algorithm from given centres, on B problems together.

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
    nearest = np.zeros((B, n))
    squares = np.einsum("bnd,bnd->bn", X, X)
    active = np.arange(B)
    for _ in range(_MAX_ITER):
        mine = slice(None) if X.shape[0] == 1 else active
        rows = X[mine]
        new, nearest[active] = assign(rows, centers[active], squares[mine])
        moved = (new != labels[active]).any(axis=1)
        labels[active] = new
        if not moved.any():
            break
        if X.shape[0] > 1:
            rows = rows[moved]
        active = active[moved]
        w = None if weights is None else weights[active]
        centers[active] = _means(rows, labels[active], centers[active], w)
    wcss = nearest.sum(axis=1) if weights is None else (nearest * weights).sum(axis=1)
    return Fits(centers, labels, wcss)


def assign(X: Array, centers: Array, squares: Array) -> tuple[NDArray[np.intp], Array]:
    """Nearest centre of each row and the squared distance to it, each of shape (B, n)."""
    half = _half_distances(X, centers)
    best = half.min(axis=1)
    labels = np.zeros(best.shape, dtype=np.int16)
    # Looping over the few centres, the first of equals last, beats an argmin over a short axis.
    for j in range(centers.shape[1] - 1, -1, -1):
        np.putmask(labels, half[:, j] == best, j)
    return labels.astype(np.intp), _from_half(best, squares)


def _half_distances(X: Array, centers: Array) -> Array:
    """Half the squared distances less half the rows' squares, of shape (B, k, n)."""
    product = np.matmul(centers, X.transpose(0, 2, 1))
    half = 0.5 * np.einsum("bkd,bkd->bk", centers, centers)
    distances: Array = np.subtract(half[:, :, None], product, out=product)
    return distances


def _from_half(half: Array, squares: Array) -> Array:
    return np.maximum(squares + 2 * half, 0.0)


def _means(X: Array, labels: NDArray[np.intp], old: Array, weights: Array | None) -> Array:
    """Weighted mean of each cluster; an emptied cluster keeps its old centre."""
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
    """Centres by greedy k-means++ (Arthur & Vassilvitskii 2007), on B problems together.

    Parameters
    ----------
    start : ndarray of shape (B, m, d), optional
        Centres already there; the missing k - m are added.

    Returns
    -------
    ndarray of shape (B, k, d)
    """
    B = X.shape[0] if weights is None else weights.shape[0]
    n, d = X.shape[1:]
    squares = np.einsum("bnd,bnd->bn", X, X)
    mass = np.ones((B, n)) if weights is None else weights
    centers = np.empty((B, k, d))
    if start is None:
        centers[:, 0] = _rows(X, _draw(mass, rng))
        known = 1
    else:
        known = start.shape[1]
        centers[:, :known] = start
    nearest = _from_half(_half_distances(X, centers[:, :known]).min(axis=1), squares)
    for j in range(known, k):
        best_total = np.full(B, np.inf)
        best_nearest = nearest.copy()
        for _ in range(2 + int(np.log(k))):
            candidate = _rows(X, _draw(nearest * mass, rng))
            away = _from_half(_half_distances(X, candidate[:, None])[:, 0], squares)
            trial = np.minimum(nearest, away)
            total = (trial * mass).sum(axis=1)
            better = total < best_total
            best_total[better] = total[better]
            best_nearest[better] = trial[better]
            centers[better, j] = candidate[better]
        nearest = best_nearest
    return centers


def _rows(X: Array, index: NDArray[np.intp]) -> Array:
    problem = 0 if X.shape[0] == 1 else np.arange(X.shape[0])
    chosen: Array = X[problem, index]
    return chosen


def _draw(mass: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """One row of each problem, with probability proportional to its mass."""
    total = np.cumsum(mass, axis=1)
    point = rng.random(mass.shape[0]) * total[:, -1]
    drawn: NDArray[np.intp] = (total <= point[:, None]).sum(axis=1)
    # Nothing left to cover (every row is a centre): all totals are 0 and any row does.
    drawn[drawn == mass.shape[1]] = 0
    return drawn


def best_of(first: Fits, second: Fits) -> Fits:
    """The better fit of each problem."""
    take = second.wcss < first.wcss
    return Fits(
        np.where(take[:, None, None], second.centers, first.centers),
        np.where(take[:, None], second.labels, first.labels),
        np.where(take, second.wcss, first.wcss),
    )


def fit_path(
    X: Array, ks: Iterable[int], rng: np.random.Generator, weights: Array | None = None
) -> dict[int, Fits]:
    """Fit every k from 1 to the largest asked, each from two starts.

    One start adds a centre to the best fit of k - 1, so that WCSS does not rise with k; the other
    is k-means++.

    Returns
    -------
    dict
        k -> `Fits`, for the ks asked.
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
