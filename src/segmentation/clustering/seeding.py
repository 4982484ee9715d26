"""k-means++, its draw and the nearest centre, for a batch of starts or problems at once.

Shared by the search (`segmentation.clustering.local_search`: many starts on the same rows) and the
small fits of the evidence (`segmentation.clustering.batched`: many problems).
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
        """Return one row of each, shape (B, d)."""
        ...

    def squares_to(self, centers: Floats) -> Floats:
        """Return squared distances (B, n) of all rows to the nearest of m centres (B, m, d)."""
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
    """Choose centres by k-means++ (Arthur & Vassilvitskii 2007).

    Parameters
    ----------
    space : Space
    mass : ndarray of shape (B, n)
        Weight of each row.
    k, d : int
    candidates : int
        Number of rows drawn for each centre; the one with the smallest resulting sum of squares is
        taken.
    known : ndarray of shape (B, m, d), optional
        Existing centres; the missing k - m are added.

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
    """Draw one row for each line of masses (B, n), in proportion to the positive masses."""
    reach = np.cumsum(np.maximum(mass, 0.0), axis=1)
    mark = rng.random(len(mass)) * reach[:, -1]
    # If every row is already a centre, any row will do.
    rows: NDArray[np.intp] = np.minimum((reach <= mark[:, None]).sum(axis=1), mass.shape[1] - 1)
    return rows


def nearest(D: Floats, axis: int = 0) -> tuple[NDArray[np.int16], Floats]:
    """Return the index of the smallest entry along the centres' axis (0 or 1 of 3), and the entry.

    Among equal entries the first wins. Whole arrays are compared and counted in bytes, which is
    several times faster than ``argmin``, which walks a short axis element by element.
    """
    k = D.shape[axis]
    smallest: Floats = D.min(axis=axis)
    # Counting down from k, the first of equal entries has the highest count.
    counts = (np.expand_dims(smallest, axis) == D) * _countdown(k, axis)
    return np.subtract(k, counts.max(axis=axis), dtype=np.int16), smallest


@cache
def _countdown(k: int, axis: int) -> NDArray[np.unsignedinteger[Any]]:
    """Return k, k - 1, ..., 1 in the smallest integer type, along one of three axes."""
    counts = np.arange(k, 0, -1, dtype=np.min_scalar_type(k))
    return np.expand_dims(counts, tuple({0, 1, 2} - {axis}))
