"""Local search for K-Means from many starts at once: Lloyd steps, then Hartigan moves.

On a few hundred rows a scikit-learn fit is almost entirely call overhead. Here a whole batch of
starts takes each step together: arrays have shape (k, starts, rows), and one matrix product gives
all distances of all starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.assignment import Floats
from segmentation.clustering.search_settings import LOCAL_SEARCH
from segmentation.clustering.seeding import nearest

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
    def _product(self) -> Floats:
        """Right side of [c, |c|², 1] @ [-2 x; 1; |x|²] = |c - x|², shape (d + 2, m)."""
        return np.vstack([-2.0 * self.X.T, np.ones(self.m), (self.X**2).sum(axis=1)])

    @cached_property
    def _weighted(self) -> Floats:
        """Columns [w, w x], whose sums over a cluster give its weight and its mean."""
        return np.column_stack([self.w, self.w[:, None] * self.X])

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
        sums = members.reshape(b * k, self.m).astype(np.float64) @ self._weighted
        sums = sums.reshape(b, k, -1)
        weights = sums[:, :, 0]
        return sums[:, :, 1:] / weights[:, :, None], weights

    @cached_property
    def _total(self) -> float:
        """Weighted sum of all squares."""
        return float(self.w @ self._product[-1])

    def wcss(self, means: Floats, weights: Floats) -> Floats:
        """Return the WCSS (b,) of cluster means and weights; infinite if a cluster is empty."""
        between = (weights * np.vecdot(means, means)).sum(axis=1)
        return np.where(np.isnan(between), np.inf, self._total - between)


@np.errstate(invalid="ignore")  # Means of empty clusters; set once here, not at every step.
def local_search(
    rows: WeightedRows,
    centers: Floats,
    *,
    known: Sequence[Solution] = (),
    hartigan: bool = True,
    steps: int = LOCAL_SEARCH.max_steps,
) -> list[Solution]:
    """Run every start to a local optimum where moving a single row cannot lower the WCSS.

    Parameters
    ----------
    rows : WeightedRows
    centers : ndarray of shape (starts, k, d)
    known : sequence of Solution
        Solutions from earlier searches. A start that settles at one of them stops. A start that
        settles well above the best stays at its Lloyd optimum. The last starts of a batch stop
        early if all of them are above the best.
    hartigan : bool
        Whether to continue from a Lloyd optimum by moving single rows. If not, `known` is ignored.
    steps : int
        Maximum number of steps of a start.

    Returns
    -------
    list of Solution
        One for each start, in order; no cluster is empty.
    """
    size = max(1, LOCAL_SEARCH.batch_entries // (centers.shape[1] * rows.m))
    solutions: list[Solution] = []
    # Each batch appends the WCSS its starts reached.
    ended = [solution.wcss for solution in known]
    # Solutions from Lloyd steps alone are improved later, so none stops for being above the best.
    best = min(ended, default=np.inf) if hartigan else np.inf
    for first in range(0, len(centers), size):
        batch = centers[first : first + size]
        solutions += _search_batch(rows, batch, best, hartigan, steps, ended)
    return solutions


def _search_batch(
    rows: WeightedRows,
    centers: Floats,
    best: float,
    hartigan: bool,
    steps: int,
    ended: list[float],
) -> list[Solution]:
    starts, k, _ = centers.shape
    done: dict[int, Solution] = {}
    active = np.arange(starts)
    previous = np.full((starts, rows.m), -1, dtype=np.int16)
    weights = np.ones((starts, k))
    for step in range(steps + 1):
        D = rows.distances(centers)
        labels, near = nearest(D)
        np.maximum(near, 0.0, out=near)
        settled = (labels == previous).all(axis=1)
        is_late = len(active) <= LOCAL_SEARCH.last * starts and bool((near @ rows.w > best).all())
        is_over = is_late or step == steps
        if is_over:
            labels, settled = previous, np.ones(len(active), dtype=bool)
        if settled.any():
            wcss = near @ rows.w
        if hartigan and settled.any() and not is_over:
            tried = np.flatnonzero(settled & (wcss <= best * (1 + LOCAL_SEARCH.hopeless)))
            if len(tried) and ended:
                apart = np.abs(np.subtract.outer(wcss[tried], ended)).min(axis=1)
                tried = tried[apart > LOCAL_SEARCH.same * wcss[tried]]
            if len(tried) < len(active) / 2 and not settled.all():
                # They wait for others: a call costs about the same for one start as for ten.
                settled[tried] = False
            elif len(tried):
                moved = hartigan_moves(
                    rows, D.take(tried, axis=1), labels[tried], weights[tried], wcss[tried]
                )
                settled[tried] = (moved == labels[tried]).all(axis=1)
                labels[tried] = moved
        if settled.any():
            for i in np.flatnonzero(settled):
                done[int(active[i])] = Solution(centers[i].copy(), labels[i].copy(), float(wcss[i]))
                ended.append(float(wcss[i]))
            going = ~settled
            if not going.any():
                break
            active, labels, near = active[going], labels[going], near[going]
        centers, weights = rows.means(labels, k)
        if not weights.all():
            fill_empty(labels, near * rows.w, k)
            centers, weights = rows.means(labels, k)
        previous = labels
    return [done[i] for i in range(starts)]


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


def hartigan_moves(
    rows: WeightedRows, D: Floats, labels: Labels, weights: Floats, wcss: Floats
) -> Labels:
    """Move rows whose change of cluster lowers the WCSS and return the labels, new or unchanged.

    A row of weight w at squared distance d² moves from cluster a to b if
    ``W_a w / (W_a - w) d_a² > W_b w / (W_b + w) d_b²`` (Hartigan 1975, ch. 4; Telgarsky & Vattani
    2010, sec. 2; here with weights). The gains hold for one move at a time. All moves together are
    therefore tried first and kept only if they gain more than the best single move. Otherwise the
    moves are made best first and each cluster is touched only once, so the gains add up exactly.

    Parameters
    ----------
    rows : WeightedRows
    D : ndarray of shape (k, b, m)
        Squared distances to the current cluster means.
    labels, weights, wcss : ndarrays of shape (b, m), (b, k), (b,)
        The current clusters.
    """
    k, b, _ = D.shape
    start = np.arange(b)
    own = own_places(labels)
    W, w = weights.T[:, :, None], rows.w[:1] if rows.same_weight else rows.w
    joining = D * (W * w / (W + w))
    joining.reshape(-1)[own] = np.inf
    target, cost = nearest(joining)
    np.maximum(cost, 0.0, out=cost)
    W_own = weights[start[:, None], labels]
    spare = W_own - rows.w
    shared = spare > W_own * 1e-12
    d2 = D.reshape(-1)[own]
    gain = np.where(shared, d2 * W_own * rows.w / np.where(shared, spare, 1.0), 0.0) - cost
    worth = gain > LOCAL_SEARCH.min_gain * wcss[:, None]
    if not worth.any():
        return labels
    gain[~worth] = -np.inf

    together = np.where(worth, target, labels)
    win = wcss - rows.wcss(*rows.means(together, k))
    kept = win > gain.max(axis=1)
    gain[kept] = -np.inf
    moved = np.where(kept[:, None], together, labels)
    for _ in range(k // 2):
        row = gain.argmax(axis=1)
        hit = np.flatnonzero(np.isfinite(gain[start, row]))
        if not len(hit):
            break
        row = row[hit]
        here, there = labels[hit, row, None], target[hit, row, None]
        moved[hit, row] = there[:, 0]
        for clusters in (labels[hit], target[hit]):
            touched = (clusters == here) | (clusters == there)
            gain[hit] = np.where(touched, -np.inf, gain[hit])
    return moved
