"""One pass over all rows, for every k at once: the sums that a Lloyd step needs.

This is the kernel of the large-data path on one machine and of the Spark engine. Rows are summed
block by block and partition by partition. It imports only NumPy, so it can be sent to executors
as it is.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

Floats = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)
Chunk = tuple[NDArray[Any], NDArray[Any] | None]

# Rows processed at a time: distances to a few centres stay in a core's cache.
CHUNK = 8192
# Maximum number of blocks of a table; their number is a multiple of SHARED_BY, so that a few
# processes share the work evenly. Blocks are added in order: the number of processes does not
# change the result.
MOST_BLOCKS, SHARED_BY = 64, 4


@dataclass(frozen=True)
class Totals:
    """Sums over some rows, each row assigned to the nearest of k centres.

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Total weight (or number, without weights) of each centre's rows.
    sums : ndarray of shape (k, d)
        Their weighted sums.
    squares : ndarray of shape (k,)
        Their weighted squared distances to the centre: the WCSS is the sum of these.
    distances : ndarray of shape (k,)
        Their weighted distances to the centre; zeros unless requested.
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
        """Return a lower bound of the gain from moving the centres to their means, per WCSS."""
        moved = ((self.means(centers) - centers) ** 2).sum(axis=1)
        return float(self.weights @ moved) / (self.wcss or 1.0)

    def means(self, centers: Floats) -> Floats:
        """Return the mean of each centre's rows, shape (k, d); a centre without rows stays put."""
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
) -> dict[Key, Totals]:
    """Sum the rows nearest to each centre, for each set of centres.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    centers : mapping to ndarrays of shape (k, d)
        Any number of sets, such as one for each k.
    weights : ndarray of shape (n,), optional
    origin : ndarray of shape (d,), optional
        A point among the rows, subtracted from rows and centres before they are compared. Squared
        distances come from a matrix product and lose about ``|x - origin|² eps`` of `dtype`.
    dtype : float32 or float64
        Precision of the comparison. Sums over more than a few thousand rows are kept in float64.
    distances : bool
        Also sum the distances, not only their squares.

    Returns
    -------
    dict
        Maps the keys of `centers` to `Totals`.
    """
    origin = np.zeros(X.shape[1]) if origin is None else origin
    asked = Asked.about(origin, centers.values(), dtype, distances)
    cut = (chunks(X, weights, block, origin, asked.dtype) for block in blocks(len(X)))
    return asked.told(centers, asked.over(cut))


def squares(X: NDArray[Any], centers: Floats) -> Floats:
    """Return the squared distance of each row to its nearest centre, shape (n,)."""
    middle = centers.mean(axis=0)
    left = score_matrix(centers - middle)
    whole = chunks(X, None, slice(0, len(X)), middle, np.float64)
    near = np.concatenate([(left @ x[:-1]).min(axis=0) + x[-1] for x, _ in whole])
    np.maximum(near, 0.0, out=near)
    return near


def score_matrix(centers: Floats) -> Floats:
    """Return the matrix (k, d + 1) that maps a chunk, less its last row, to |c - x|² - |x|²."""
    return np.column_stack([-2.0 * centers, (centers**2).sum(axis=1)])


def blocks(n: int) -> list[slice]:
    """Cut n rows into blocks, whichever process sums them."""
    count = min(MOST_BLOCKS, SHARED_BY * -(-n // (SHARED_BY * CHUNK)))
    ends = [n * i // count for i in range(count + 1)] if n else [0, 0]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def chunks(
    X: NDArray[Any], weights: Floats | None, block: slice, origin: Floats, dtype: DTypeLike
) -> Iterator[Chunk]:
    """Yield the rows of a block in the form a pass needs, `CHUNK` at a time, with their weights.

    Rows of the array are x - origin, 1, |x - origin|². The first d + 1 give the distances; all of
    them give the sums of a cluster. Columns are customers: products of short matrices are twice as
    fast in this orientation.
    """
    d = X.shape[1]
    for start in range(block.start, block.stop, CHUNK):
        part = slice(start, min(start + CHUNK, block.stop))
        x = np.ones((d + 2, part.stop - start), dtype)
        np.subtract(X[part].T, origin[:, None], out=x[:d], casting="same_kind")
        np.einsum("dn,dn->n", x[:d], x[:d], out=x[d + 1])
        yield x, None if weights is None else weights[part].astype(dtype)


def own_centers(
    scores: NDArray[Any], members: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Mark the nearest centre of each row, exactly one per row, and return its score.

    Parameters
    ----------
    scores : ndarray of shape (k, m)
        Scores of rows laid out as in `chunks`; the nearest centre has the smallest.
    members : ndarray of shape (k, m)
        Filled and returned.
    """
    nearest = scores.min(axis=0)
    own = np.equal(scores, nearest, out=members)
    if np.count_nonzero(own) != scores.shape[1]:
        # A row exactly between two centres belongs to the first of them.
        own &= np.cumsum(own, axis=0) == 1
    return own, nearest


@dataclass(frozen=True)
class Asked:
    """The request for one pass, sent to the processes that hold rows.

    Attributes
    ----------
    origin : ndarray of shape (d,)
    centers : list of ndarrays of shape (k, d)
        Relative to the origin.
    dtype : dtype
    distances : bool
    """

    origin: Floats
    centers: list[Floats]
    dtype: np.dtype[Any]
    distances: bool

    @classmethod
    def about(
        cls, origin: Floats, centers: Iterable[Floats], dtype: DTypeLike, distances: bool
    ) -> Asked:
        """Build a request; arguments as for `totals`."""
        shifted = [np.asarray(c, np.float64) - origin for c in centers]
        return cls(origin, shifted, np.dtype(dtype), distances)

    def over(self, blocks: Iterable[Iterable[Chunk]]) -> Iterator[Floats]:
        """Yield the sums over each block of rows, of shape (all centres, d + 3).

        The columns are the sums of the rows relative to the origin, the weight, the squared
        distances to the origin and the distances to the centre.
        """
        d, dtype = len(self.origin), self.dtype
        ends = np.cumsum([len(c) for c in self.centers])
        of = [slice(end - len(c), end) for end, c in zip(ends, self.centers, strict=True)]
        left = [score_matrix(c).astype(dtype) for c in self.centers]
        largest = max(map(len, left))
        scores = np.empty((largest, CHUNK), dtype)
        members = np.empty((largest, CHUNK), bool)
        share = np.empty((largest, CHUNK), dtype)
        for block in blocks:
            sums = np.zeros((ends[-1], d + 3))
            for x, w in block:
                m = x.shape[1]
                for own_sums, product in zip(of, left, strict=True):
                    k = len(product)
                    score = np.matmul(product, x[: d + 1], out=scores[:k, :m])
                    own, nearest = own_centers(score, members[:k, :m])
                    mine = share[:k, :m]
                    if w is None:
                        np.copyto(mine, own)
                    else:
                        np.multiply(own, w, out=mine)
                    sums[own_sums, : d + 2] += mine @ x.T
                    if self.distances:
                        far = np.sqrt(np.maximum(nearest + x[d + 1], 0.0))
                        sums[own_sums, d + 2] += mine @ far
            yield sums

    def told(self, keys: Iterable[Key], sums: Iterable[Floats]) -> dict[Key, Totals]:
        """Return the totals from the sums over all blocks, in order; `keys` match the centres."""
        added = functools.reduce(np.add, sums)
        found: dict[Key, Totals] = {}
        end = 0
        for key, c in zip(keys, self.centers, strict=True):
            start, end = end, end + len(c)
            total, rest = added[start:end, :-3], added[start:end, -3:]
            count, square, distance = rest.T
            about = square - 2.0 * (c * total).sum(axis=1) + count * (c**2).sum(axis=1)
            # From sums relative to the origin to sums of the original rows.
            at = total + count[:, None] * self.origin
            found[key] = Totals(count, at, np.maximum(about, 0.0), distance)
        return found
