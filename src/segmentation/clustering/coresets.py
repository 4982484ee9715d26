"""Distinct rows and seeded samples of many rows, in time linear in all but one sort of integers.

Everything here depends on the values of the rows and the seed, not on the order they stand in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.assignment import Floats

# Odd constants of Steele, Lea & Flood's SplitMix64 (2014), whose mixing the fingerprint follows.
_GOLDEN, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
# Rows mixed at a time: tens of millions leave no memory for copies of them all.
PART_ROWS = 1 << 18


@dataclass(frozen=True)
class Rows:
    """Rows with their weights.

    Attributes
    ----------
    X : ndarray of shape (n, d)
    w : ndarray of shape (n,) or None
        None: each row counts once.
    """

    X: Floats
    w: Floats | None

    @property
    def weights(self) -> Floats:
        """The weights, whether they are all one or not."""
        return np.ones(len(self.X)) if self.w is None else self.w


@dataclass(frozen=True)
class Equals:
    """Where equal rows are.

    Attributes
    ----------
    keys : ndarray of shape (n,), uint64
        Fingerprint of each row.
    order : ndarray of shape (n,), int
        Positions of the rows with equal rows side by side.
    repeats : ndarray of shape (r,), int
        Where in `order` a row equals the one before it.
    """

    keys: NDArray[np.uint64]
    order: NDArray[np.int64]
    repeats: NDArray[np.intp]

    @property
    def distinct(self) -> int:
        """Number of distinct rows."""
        return len(self.keys) - len(self.repeats)

    @property
    def first(self) -> NDArray[np.intp]:
        """Where in `order` each kind of row starts, shape (distinct,)."""
        starts = np.ones(len(self.keys), dtype=bool)
        starts[self.repeats] = False
        return np.flatnonzero(starts)

    def merged(self, rows: Rows) -> Rows:
        """Each kind of row once, with the weights of its copies added."""
        first = self.first
        w = np.add.reduceat(rows.weights[self.order], first)
        return Rows(rows.X[self.order[first]], w)

    @property
    def kinds(self) -> NDArray[np.uint64]:
        """Fingerprint of each kind of row, in the order of `merged`."""
        return self.keys[self.order[self.first]]

    @property
    def copies(self) -> NDArray[np.uint64]:
        """Fingerprint of each row, the copies of a row numbered.

        Drawn all together or not at all, a frequent row would rule a sample.
        """
        if not len(self.repeats):
            return self.keys
        first = self.first
        copy = np.arange(len(self.keys)) - np.repeat(first, np.diff(first, append=len(self.keys)))
        keys = self.keys.copy()
        keys[self.order] += copy.astype(np.uint64) * _GOLDEN
        return keys


def lots(fingerprints: NDArray[np.uint64], seed: int) -> Floats:
    """A uniform number in [0, 1) for each fingerprint."""
    uniform = np.empty(len(fingerprints))
    salt = _mixed(np.array([seed], dtype=np.uint64))
    for start in range(0, len(fingerprints), PART_ROWS):
        part = slice(start, start + PART_ROWS)
        uniform[part] = (_mixed(fingerprints[part] ^ salt) >> np.uint64(11)) * 2.0**-53
    return uniform


def find_equals(X: Floats) -> Equals:
    """Find equal rows by one sort of their fingerprints.

    Parameters
    ----------
    X : ndarray of shape (n, d)

    Returns
    -------
    Equals
        Rows in one kind are equal. Should two different rows share a fingerprint, some copies of
        theirs may count as kinds of their own, which changes no weighted sum.
    """
    keys = _fingerprints(X)
    # The row's number in the low bits: one sort of integers then gives the order as well.
    low = np.uint64((1 << max(len(X) - 1, 1).bit_length()) - 1)
    packed = keys & ~low
    packed |= np.arange(len(X), dtype=np.uint64)
    packed.sort()
    # In place: tens of millions of rows leave no memory for copies.
    order = (packed & low).view(np.int64)
    packed &= ~low
    alike = np.flatnonzero(packed[1:] == packed[:-1]) + 1
    equal = (X[order[alike]] == X[order[alike - 1]]).all(axis=1)
    return Equals(keys, order, alike[equal])


def coreset_chances(rows: Rows, origin: Floats) -> Floats:
    """Chance of each row in one draw of a lightweight coreset.

    That of Bachem, Lucic & Krause (2018, KDD, alg. 1). Half of it goes by weight, half by the share
    of the sum of squares about the origin: a uniform sample of heavy-tailed customers misses the
    few who make most of the WCSS. Measured on 1e6 rows of Student's t with three degrees of
    freedom, for k = 4 and 5: solved on uniform samples the WCSS was 11 % and 10 % above the best,
    on coresets of the same sizes less than 0.001 %.

    Parameters
    ----------
    rows : Rows
    origin : ndarray of shape (d,)
        Their mean.

    Returns
    -------
    ndarray of shape (n,)
        Adds up to one.
    """
    spread, squares = np.zeros(len(rows.X)), np.empty(len(rows.X))
    for column, middle in zip(rows.X.T, origin, strict=True):
        np.subtract(column, middle, out=squares)
        squares *= squares
        spread += squares
    if rows.w is not None:
        spread *= rows.w
    total = spread.sum()
    even: float | Floats = 1 / len(rows.X) if rows.w is None else rows.w / rows.w.sum()
    if total == 0:
        return np.broadcast_to(even, len(rows.X)).copy()
    spread *= 0.5 / total
    spread += 0.5 * even
    return spread


def coreset(rows: Rows, chances: Floats, drawn: Floats, size: int) -> Rows:
    """About `size` rows, each weighted by one over its chance; a smaller one lies within a larger.

    Parameters
    ----------
    rows : Rows
    chances : ndarray of shape (n,)
        From `coreset_chances`.
    drawn : ndarray of shape (n,)
        From `lots`, of `Equals.copies` or, when the rows are merged, `Equals.kinds`.
    size : int
    """
    kept = np.concatenate(
        [
            start + np.flatnonzero(drawn[start:end] < chances[start:end] * size)
            for start in range(0, len(drawn), PART_ROWS)
            for end in [start + PART_ROWS]
        ]
    )
    w = (1.0 if rows.w is None else rows.w[kept]) / np.minimum(chances[kept] * size, 1.0)
    # In an order of their own: sums, and what a seed draws from them, then depend on nothing else.
    order = np.argsort(drawn[kept])
    # Adding zero: -0.0 and 0.0 are equal, and a sum of them shows which it was.
    return Rows(rows.X[kept[order]] + 0.0, w[order])


def _fingerprints(X: Floats) -> NDArray[np.uint64]:
    """64 bits for each row, the same for equal rows."""
    keys = np.full(len(X), _GOLDEN)
    for start in range(0, len(X), PART_ROWS):
        part = keys[start : start + PART_ROWS]
        for column in X[start : start + PART_ROWS].T:
            # Adding zero turns -0.0, equal to 0.0 but of other bits, into it.
            part ^= np.add(column, 0.0, dtype=np.float64).view(np.uint64)
            part[:] = _mixed(part)
    return keys


def _mixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    keys = keys * _MIX
    keys ^= keys >> np.uint64(32)
    keys *= _GOLDEN
    keys ^= keys >> np.uint64(29)
    return keys
