"""k-means++ and its draw, for a batch of starts or of problems at once; and the nearest of centres.

What the search (`segmentation.clustering.local_search`: many starts on the same rows) and the many
small fits of the evidence (`segmentation.clustering.batched`: many problems) have in common.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.assignment import Floats


class Space(Protocol):
    """The rows of B starts or problems."""

    def at(self, rows: NDArray[np.intp]) -> Floats:
        """One row of each, shape (B, d)."""
        ...

    def squares_to(self, centers: Floats) -> Floats:
        """Squared distances of all rows to the nearest of m centres (B, m, d), shape (B, n)."""
        ...


def plus_plus(
    space: Space,
    mass: Floats,
    k: int,
    d: int,
    rng: np.random.Generator,
    *,
    candidates: int = 1,
    known: Floats | None = None,
) -> Floats:
    """Centres by k-means++ (Arthur & Vassilvitskii 2007).

    Parameters
    ----------
    space : Space
    mass : ndarray of shape (B, n)
        Weight of each row.
    k, d : int
    candidates : int
        Rows drawn for each centre; the one that leaves the least sum of squares is taken.
    known : ndarray of shape (B, m, d), optional
        Centres already there; the missing k - m are added.

    Returns
    -------
    ndarray of shape (B, k, d)
    """
    centers = np.empty((len(mass), k, d))
    first = 1 if known is None else known.shape[1]
    centers[:, :first] = space.at(draw(mass, rng))[:, None] if known is None else known
    near = space.squares_to(centers[:, :first])
    for j in range(first, k):
        least = np.full(len(mass), np.inf)
        left = near.copy()
        for _ in range(candidates):
            row = space.at(draw(near * mass, rng))
            trial = np.minimum(near, space.squares_to(row[:, None]))
            if candidates == 1:
                centers[:, j], left = row, trial
                break
            total = (trial * mass).sum(axis=1)
            better = total < least
            least[better] = total[better]
            left[better] = trial[better]
            centers[better, j] = row[better]
        near = left
    return centers


def draw(mass: Floats, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw one row for each line of masses (B, n), in proportion to those above 0."""
    reach = np.cumsum(np.maximum(mass, 0.0), axis=1)
    mark = rng.random(len(mass)) * reach[:, -1]
    # Where nothing is left to cover (every row is a centre) any row does.
    rows: NDArray[np.intp] = np.minimum((reach <= mark[:, None]).sum(axis=1), mass.shape[1] - 1)
    return rows


def nearest(D: Floats, axis: int = 0) -> tuple[NDArray[np.int16], Floats]:
    """Index of the smallest entry over the axis of the centres, 0 or 1 of three, and that entry.

    The first of equals wins. Whole arrays are compared and counted in bytes, several times faster
    than ``argmin``, which walks a short axis element by element.
    """
    k = D.shape[axis]
    smallest: Floats = D.min(axis=axis)
    # The first of equals has the highest count down from k.
    counts = (np.expand_dims(smallest, axis) == D) * _countdown(k, axis)
    return np.subtract(k, counts.max(axis=axis), dtype=np.int16), smallest


@cache
def _countdown(k: int, axis: int) -> NDArray[np.unsignedinteger[Any]]:
    """k, k - 1, ..., 1 in as few bytes as will do, along one of three axes."""
    counts = np.arange(k, 0, -1, dtype=np.min_scalar_type(k))
    return np.expand_dims(counts, tuple({0, 1, 2} - {axis}))
