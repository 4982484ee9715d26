"""Local search one start at a time: for many rows or many centres.

Lloyd's algorithm is scikit-learn's, which never holds all distances. It runs in legs; between them
a start is given up if it cannot reach the best known solution. Only starts that settle near it move
single rows. Bounds on the distances (Hamerly 2010) leave few rows to look at there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from segmentation.clustering._sklearn_compat import lloyd
from segmentation.clustering.assignment import Floats
from segmentation.clustering.search_settings import (
    GENERATIONS,
    LOCAL_SEARCH,
    SINGLE_STARTS,
)
from segmentation.clustering.seeding import nearest
from segmentation.clustering.weighted_rows import (
    Labels,
    Solution,
    WeightedRows,
    fill_empty,
)


def search_singly(
    rows: WeightedRows,
    centers: Floats,
    best: float,
    hartigan: bool,
    steps: int,
    ended: list[float],
) -> list[Solution]:
    """Do what `segmentation.clustering.local_search.local_search` does, start by start.

    Parameters
    ----------
    rows : WeightedRows
    centers : ndarray of shape (starts, k, d)
    best : float
        WCSS of the best known solution, or infinity.
    hartigan, steps
        As for `local_search`.
    ended : list of float
        WCSS of known solutions; those of the new ones are appended.
    """
    solutions = []
    for start in centers:
        solution = _lloyd(rows, start, best, steps)
        near = solution.wcss <= best * (1 + _hopeless(rows, solution.k))
        if hartigan and near and not _is_known(solution.wcss, ended):
            ended.append(solution.wcss)
            solution = _settled(rows, solution, best, steps)
        ended.append(solution.wcss)
        if hartigan:
            best = min(best, solution.wcss)
        solutions.append(solution)
    return solutions


def _hopeless(rows: WeightedRows, k: int) -> float:
    """How far above the best (relative) a start may settle and still move single rows."""
    return min(LOCAL_SEARCH.hopeless, SINGLE_STARTS.moves_gain * k / rows.m)


def _is_known(wcss: float, ended: list[float]) -> bool:
    return bool(ended) and np.abs(np.subtract(ended, wcss)).min() <= LOCAL_SEARCH.same * wcss


def _lloyd(rows: WeightedRows, centers: Floats, best: float, steps: int) -> Solution:
    """Run Lloyd's algorithm to a local optimum, or until the best is out of reach.

    At first, the centres leap: after each leg they go as far again as the leg took them.
    """
    if rows.by_difference:
        return _Bounded(rows, centers).lloyd(steps).solution()
    k, before, done, leg = len(centers), np.inf, 0, SINGLE_STARTS.leg
    leaps = SINGLE_STARTS.leaps_of_many if k > GENERATIONS.usual_k else SINGLE_STARTS.leaps
    near = _hopeless(rows, k)
    while True:
        leg = min(leg, steps - done)
        labels, wcss, after, settled = lloyd(rows.X, rows.w, centers, leg)
        done += leg
        if settled or done >= steps:
            break
        if leaps:
            leaps, centers = leaps - 1, 2 * after - centers
            continue
        above = wcss / best - 1 if best else 0.0
        if above > max(SINGLE_STARTS.reach * (before / wcss - 1), near):
            break
        before, centers, leg = wcss, after, 2 * leg
    if len(np.unique(labels)) < k:
        return _Bounded(rows, after).lloyd(steps).solution()
    return Solution(after, labels.astype(np.int16), wcss)


def _settled(rows: WeightedRows, solution: Solution, best: float, steps: int) -> Solution:
    """Move single rows until no move lowers the WCSS or the best is out of reach."""
    bounded, before = _Bounded(rows, solution.centers), np.inf
    for _ in range(steps):
        bounded.center()
        wcss = bounded.wcss()
        is_above = wcss > best * (1 + LOCAL_SEARCH.same)
        if is_above and wcss - best > SINGLE_STARTS.moves_reach * (before - wcss):
            break
        if not bounded.move_rows():
            break
        before = wcss
    bounded.center()
    return bounded.solution()


@dataclass
class _Bounded:
    """A solution with bounds on the distances of each row.

    Attributes
    ----------
    rows : WeightedRows
    centers : ndarray of shape (k, d)
    labels : ndarray of shape (m,)
    own : ndarray of shape (m,)
        At least the distance to the own centre.
    other : ndarray of shape (m,)
        At most the distance to any other centre.
    sums : ndarray of shape (k, d + 1)
        Weight and weighted sum of each cluster's rows.
    """

    rows: WeightedRows
    centers: Floats
    labels: Labels = field(init=False)
    own: Floats = field(init=False)
    other: Floats = field(init=False)
    sums: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.measure()

    @property
    def k(self) -> int:
        return len(self.centers)

    def measure(self) -> None:
        """Assign every row anew; no cluster is left empty."""
        self.labels, self.own, self.other = _two_nearest(self.distances())
        fill_empty(self.labels[None], (self.own**2 * self.rows.w)[None], self.k)
        self.sums = self.sums_of(self.labels)

    def solution(self) -> Solution:
        """Return the solution with its WCSS summed row by row."""
        apart = self.rows.X - self.centers[self.labels]
        wcss = float(np.einsum("md,md,m->", apart, apart, self.rows.w))
        return Solution(self.centers, self.labels, wcss)

    def distances(self, at: NDArray[np.intp] | slice = slice(None)) -> Floats:
        """Return squared distances of some rows to all centres, shape (k, rows)."""
        X = self.rows.X[at]
        if self.rows.by_difference:
            return np.ascontiguousarray(cdist(self.centers, X, "sqeuclidean"))
        D: Floats = (-2.0 * self.centers) @ X.T
        D += np.vecdot(self.centers, self.centers)[:, None]
        D += self.rows.squares[at]
        return np.maximum(D, 0.0, out=D)

    def sums_of(self, labels: Labels, at: NDArray[np.intp] | slice = slice(None)) -> Floats:
        """Return the sums of some rows by label."""
        members = labels == np.arange(self.k, dtype=labels.dtype)[:, None]
        sums: Floats = members.astype(np.float64) @ self.rows.weighted[at]
        return sums

    def lloyd(self, steps: int) -> _Bounded:
        """Run Lloyd steps until no row changes its cluster."""
        for _ in range(steps):
            self.center()
            if not self.reassign():
                break
        return self

    def center(self) -> None:
        """Move the centres to their means and loosen the bounds by how far they went."""
        means = self.sums[:, 1:] / self.sums[:, :1]
        went = np.sqrt(((means - self.centers) ** 2).sum(axis=1))
        self.centers = means
        self.own += went[self.labels]
        if self.k > 1:
            first, second = np.argsort(-went, kind="stable")[:2]
            farthest = np.full(self.k, went[first])
            farthest[first] = went[second]
            self.other -= farthest[self.labels]

    def reassign(self) -> bool:
        """Give every row to its nearest centre; return whether any row changed its cluster."""
        if self.k == 1:
            return False
        apart = cdist(self.centers, self.centers)
        np.fill_diagonal(apart, np.inf)
        bound = np.maximum(self.other, 0.5 * apart.min(axis=1)[self.labels])
        at = np.flatnonzero(self.own > bound)
        if not len(at):
            return False
        if len(at) < self.rows.m:
            at = at[self.own_exactly(at) > bound[at]]
        before = self.labels[at]
        after, self.own[at], self.other[at] = _two_nearest(self.distances(at))
        changed = after != before
        at, before, after = at[changed], before[changed], after[changed]
        if not len(at):
            return False
        self.labels[at] = after
        self.sums = self.sums + self.sums_of(after, at) - self.sums_of(before, at)
        if (np.bincount(self.labels, minlength=self.k) == 0).any():
            self.measure()
        return True

    def own_exactly(self, at: NDArray[np.intp]) -> Floats:
        """Return the distances of some rows to their centres, and keep them as bounds."""
        apart = self.rows.X[at] - self.centers[self.labels[at]]
        self.own[at] = np.sqrt(np.vecdot(apart, apart))
        return self.own[at]

    def move_rows(self) -> bool:
        """Move rows whose change of cluster lowers the WCSS; return whether any was moved.

        See `segmentation.clustering.local_search.hartigan_moves`; here the bounds exclude most rows
        before any distance is computed.
        """
        if self.k == 1:
            return False
        weights, w = self.sums[:, 0], self.rows.w
        spare = weights[self.labels] - w
        shared = spare > weights[self.labels] * 1e-12
        leaving = np.where(shared, weights[self.labels] / np.where(shared, spare, 1.0), 0.0)
        smallest = weights.min()
        least = np.maximum(self.other, 0.0) ** 2 * (smallest / (smallest + w))
        at = np.flatnonzero(least < self.own**2 * leaving)
        at = at[least[at] < self.own_exactly(at) ** 2 * leaving[at]]
        if not len(at):
            return False
        D, mine, each = self.distances(at), self.labels[at], np.arange(len(at))
        won = self.own[at] ** 2 * leaving[at] * w[at]
        D[mine, each] = np.inf
        self.other[at] = np.sqrt(D.min(axis=0))
        joining = D * (weights[:, None] * w[at] / (weights[:, None] + w[at]))
        target = joining.argmin(axis=0).astype(np.int16)
        gain = won - joining[target, each]
        worth = np.flatnonzero(gain > LOCAL_SEARCH.min_gain * self.wcss())
        if not len(worth):
            return False
        worth = worth[np.argsort(-gain[worth], kind="stable")]
        chosen = worth
        sums = self.moved(at[chosen], target[chosen])
        if not self.wcss() - self.wcss(sums) > gain[worth[0]]:
            # Gains add up exactly as long as each cluster is touched only once.
            chosen = _disjoint(worth, mine, target)
            sums = self.moved(at[chosen], target[chosen])
        at, target = at[chosen], target[chosen]
        self.other[at] = np.minimum(self.other[at], self.own[at])
        self.own[at] = np.sqrt(D[target, chosen])
        self.labels[at], self.sums = target, sums
        return True

    def moved(self, at: NDArray[np.intp], target: Labels) -> Floats:
        """Return the sums after giving these rows to these clusters."""
        return self.sums + self.sums_of(target, at) - self.sums_of(self.labels[at], at)

    def wcss(self, sums: Floats | None = None) -> float:
        """Return the WCSS of cluster sums; infinite if a cluster is empty."""
        sums = self.sums if sums is None else sums
        if not (sums[:, 0] > 0).all():
            return np.inf
        between = float((np.vecdot(sums[:, 1:], sums[:, 1:]) / sums[:, 0]).sum())
        return self.rows.total - between


def _two_nearest(D: Floats) -> tuple[Labels, Floats, Floats]:
    """Return the nearest of the centres and the distances to it and to the next one.

    D, squared distances of shape (k, rows), is overwritten.
    """
    labels, least = nearest(D[:, None], axis=0)
    D[labels[0], np.arange(D.shape[1])] = np.inf
    return labels[0], np.sqrt(least[0]), np.sqrt(D.min(axis=0))


def _disjoint(order: NDArray[np.intp], here: Labels, there: Labels) -> NDArray[np.intp]:
    """Return those moves, in this order, that touch no cluster touched before."""
    touched: set[int] = set()
    kept = []
    for i in order.tolist():
        a, b = int(here[i]), int(there[i])
        if a not in touched and b not in touched:
            kept.append(i)
            touched |= {a, b}
    return np.array(kept, dtype=np.intp)
