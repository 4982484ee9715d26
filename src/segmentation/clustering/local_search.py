"""Local search for K-Means from many starts at once: Lloyd steps, then Hartigan moves.

On a few hundred rows a scikit-learn fit is almost entirely call overhead. Here a whole batch of
starts takes each step together: arrays have shape (k, starts, rows), and one matrix product gives
all distances of all starts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segmentation.clustering.assignment import Floats
from segmentation.clustering.search_settings import LOCAL_SEARCH, SINGLE_STARTS
from segmentation.clustering.seeding import nearest
from segmentation.clustering.single_starts import search_singly
from segmentation.clustering.weighted_rows import (
    Labels,
    Solution,
    WeightedRows,
    fill_empty,
    own_places,
)


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
    entries = centers.shape[1] * rows.m
    solutions: list[Solution] = []
    # Each batch appends the WCSS its starts reached.
    ended = [solution.wcss for solution in known]
    # Solutions from Lloyd steps alone are improved later, so none stops for being above the best.
    best = min(ended, default=np.inf) if hartigan else np.inf
    if entries > SINGLE_STARTS.entries:
        return search_singly(rows, centers, best, hartigan, steps, ended)
    size = max(1, LOCAL_SEARCH.batch_entries // entries)
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
