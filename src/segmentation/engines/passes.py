"""One pass over all rows that serves every k at once: what Lloyd's step needs, added up.

The kernel of the large-data path on one machine and of the Spark engine: each block of rows (a
thread's, a partition's) gives `Totals`, and totals add. It imports NumPy alone, so that it can be
sent to executors as it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

# Rows worked on at a time: distances to a few centres stay in a core's cache.
CHUNK = 8192
# Rows of one block: blocks are added in order, so the number of threads plays no part.
BLOCK = 4 * CHUNK


@dataclass(frozen=True)
class Totals:
    """Sums over some rows, each counted to its nearest of k centres.

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Weight (number, without weights) of each centre's rows.
    sums : ndarray of shape (k, d)
        Their weighted sums.
    squares : ndarray of shape (k,)
        Their weighted squared distances to the centre: the WCSS is the sum of these.
    distances : ndarray of shape (k,)
        Their weighted distances to the centre; zeros unless asked for.
    """

    weights: Floats
    sums: Floats
    squares: Floats
    distances: Floats

    def __add__(self, other: Totals) -> Totals:
        """Totals over the rows of both."""
        return Totals(
            self.weights + other.weights,
            self.sums + other.sums,
            self.squares + other.squares,
            self.distances + other.distances,
        )

    @property
    def wcss(self) -> float:
        """Within-cluster sum of squares about the centres of the pass."""
        return float(self.squares.sum())

    def reordered(self, order: NDArray[np.intp]) -> Totals:
        """The same totals with the centres in another order."""
        return Totals(
            self.weights[order], self.sums[order], self.squares[order], self.distances[order]
        )

    def step_gain(self, centers: Floats) -> float:
        """What moving the centres to their means wins at least, as a share of the WCSS."""
        moved = ((self.means(centers) - centers) ** 2).sum(axis=1)
        return float(self.weights @ moved) / (self.wcss or 1.0)

    def means(self, centers: Floats) -> Floats:
        """Mean of each centre's rows, shape (k, d); a centre without rows stays where it was."""
        full = self.weights > 0
        moved = centers.copy()
        moved[full] = self.sums[full] / self.weights[full, None]
        return moved


def totals(
    X: NDArray[Any],
    centers: Mapping[Key, Floats],
    weights: Floats | None = None,
    *,
    origin: Floats | None = None,
    dtype: DTypeLike = np.float32,
    distances: bool = False,
    threads: int = 1,
) -> dict[Key, Totals]:
    """Add up, for each set of centres, the rows nearest to each centre.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    centers : mapping to ndarrays of shape (k, d)
        Any number of sets, such as one for each k.
    weights : ndarray of shape (n,), optional
    origin : ndarray of shape (d,), optional
        A point amid the rows, subtracted from rows and centres before they are compared: squared
        distances come from a matrix product and lose about ``|x - origin|² eps`` of `dtype`.
    dtype : float32 or float64
        Of the comparison; sums over more than a few thousand rows are kept in float64.
    distances : bool
        Also add up the distances, not only their squares.
    threads : int
        Threads to share the rows among. The answer is the same for any number of them.

    Returns
    -------
    dict
        The keys of `centers`, each with its `Totals`.
    """
    origin = np.zeros(X.shape[1]) if origin is None else origin
    shifted = {key: np.asarray(c, np.float64) - origin for key, c in centers.items()}

    def block(start: int) -> dict[Key, Totals]:
        part = slice(start, start + BLOCK)
        w = None if weights is None else weights[part]
        return _block(X[part], shifted, w, origin, np.dtype(dtype), distances)

    starts = range(0, max(len(X), 1), BLOCK)
    added: dict[Key, Totals] = {}
    with ThreadPoolExecutor(threads) as pool:
        for one in pool.map(block, starts) if threads > 1 else map(block, starts):
            added = {key: added[key] + one[key] for key in one} if added else one
    # From sums about the origin to sums of the rows as they are.
    return {
        key: Totals(t.weights, t.sums + t.weights[:, None] * origin, t.squares, t.distances)
        for key, t in added.items()
    }


def _block(
    X: NDArray[Any],
    shifted: Mapping[Key, Floats],
    weights: Floats | None,
    origin: Floats,
    dtype: np.dtype[Any],
    distances: bool,
) -> dict[Key, Totals]:
    d = X.shape[1]
    left = {
        key: np.column_stack([-2.0 * c, (c**2).sum(axis=1)]).astype(dtype)
        for key, c in shifted.items()
    }
    largest = max(len(product) for product in left.values())
    # Rows x, 1, |x|²: the first d + 1 give |c - x|² - |x|², all of them the sums of a cluster.
    # Columns are customers: products of short matrices are twice as fast that way round.
    columns = np.ones((d + 2, CHUNK), dtype)
    scores = np.empty((largest, CHUNK), dtype)
    members = np.empty((largest, CHUNK), bool)
    share = np.empty((largest, CHUNK), dtype)
    sums = {key: np.zeros((len(product), d + 3)) for key, product in left.items()}
    for start in range(0, len(X), CHUNK):
        part = X[start : start + CHUNK]
        m = len(part)
        x = columns[:, :m]
        np.subtract(part.T, origin[:, None], out=x[:d], casting="same_kind")
        np.einsum("dn,dn->n", x[:d], x[:d], out=x[d + 1])
        w = None if weights is None else weights[start : start + CHUNK].astype(dtype)
        for key, product in left.items():
            k = len(product)
            score = np.matmul(product, x[: d + 1], out=scores[:k, :m])
            nearest = score.min(axis=0)
            own = np.equal(score, nearest, out=members[:k, :m])
            if np.count_nonzero(own) != m:
                # A row exactly between two centres belongs to the first of them.
                own &= np.cumsum(own, axis=0) == 1
            mine = share[:k, :m]
            if w is None:
                np.copyto(mine, own)
            else:
                np.multiply(own, w, out=mine)
            sums[key][:, : d + 2] += mine @ x.T
            if distances:
                sums[key][:, d + 2] += mine @ np.sqrt(np.maximum(nearest + x[d + 1], 0.0))
    added = {}
    for key, c in shifted.items():
        total, count, square = sums[key][:, :d], sums[key][:, d], sums[key][:, d + 1]
        about = square - 2.0 * (c * total).sum(axis=1) + count * (c**2).sum(axis=1)
        added[key] = Totals(count, total, np.maximum(about, 0.0), sums[key][:, d + 2])
    return added
