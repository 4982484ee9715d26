"""Samples for the statistics: seeded, in a fixed row order, with rounding undone."""

from __future__ import annotations

import weakref

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.coresets import find_equals, lots
from segmentation.evaluation.measure_settings import SAMPLING

Array = NDArray[np.float64]

_kept: list[tuple[weakref.ref[Array], int, NDArray[np.intp]]] = []


def sample_rows(Z: Array, limit: int, seed: int) -> NDArray[np.intp]:
    """Draw the positions of at most `limit` rows without replacement, sorted by row values.

    The sorting makes every seeded statistic independent of the order of the customers in the file.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    limit : int
    seed : int

    Returns
    -------
    ndarray of shape (min(n, limit),)
    """
    rows = np.arange(len(Z)) if len(Z) <= limit else _first_drawn(Z, limit, seed)
    return rows[np.lexsort(Z[rows].T[::-1])]


def sampled(Z: Array, limit: int, seed: int) -> Array:
    """Return the rows at the positions from `sample_rows`, in double precision."""
    rows: Array = Z[sample_rows(Z, limit, seed)].astype(np.float64, copy=False)
    return rows


def _first_drawn(Z: Array, limit: int, seed: int) -> NDArray[np.intp]:
    """Return the positions of the first `limit` rows in the seeded drawing order."""
    if len(Z) < SAMPLING.many_rows or limit > SAMPLING.kept:
        return np.argpartition(lots(find_equals(Z).copies, seed), limit)[:limit]
    for of, known, rows in _kept:
        if of() is Z and known == seed:
            return rows[:limit]
    drawn = lots(find_equals(Z).copies, seed)
    rows = np.argpartition(drawn, SAMPLING.kept)[: SAMPLING.kept]
    rows = rows[np.argsort(drawn[rows])]
    _kept[:] = [(weakref.ref(Z), seed, rows)]
    return rows[:limit]


def unround(Z: Array, seed: int) -> Array:
    """Spread repeated values evenly over the interval that was rounded to them.

    Customer data are full of integers. Tests for continuous data take a repeated value for a mode,
    and a mixture model takes it for a spike of infinite density. Each value that occurs more than
    once is moved uniformly by at most half the distance to its nearest other value in the column;
    values that occur once do not change. The half distance is local, so it also suits a column
    stretched by a non-linear scaling and never bridges a gap wider than the grid.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    seed : int

    Returns
    -------
    ndarray of shape (n, d)
    """
    rng = np.random.default_rng(seed)
    spread = np.empty_like(Z)
    for j, column in enumerate(Z.T):
        values, where, counts = np.unique(column, return_inverse=True, return_counts=True)
        half = np.zeros(len(values))
        if len(values) > 1:
            gaps = np.diff(values)
            nearest = np.minimum(np.append(np.inf, gaps), np.append(gaps, np.inf))
            half = np.where(counts > 1, nearest / 2, 0.0)
        spread[:, j] = column + half[where] * rng.uniform(-1.0, 1.0, len(column))
    return spread


def varying(Z: Array) -> NDArray[np.bool_]:
    """Return a mask of the columns with more than one value, shape (d,)."""
    # The first rows are usually enough to decide.
    differs: NDArray[np.bool_] = np.ptp(Z[:1000], axis=0) > 0
    return differs if differs.all() else np.ptp(Z, axis=0) > 0
