"""Search for the best K-Means solutions of all k together.

Each k has a small genetic search (HG-means, Gribel & Vidal 2019): solutions are crossed by matching
their centres, mutated by moving a centre and improved by local search. The searches follow a path
over k. On the way up, solutions of k - 1 plus one centre are starts for k; on the way down,
solutions of k + 1 minus one centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from segmentation.clustering import seeding
from segmentation.clustering.assignment import Floats
from segmentation.clustering.local_search import (
    Solution,
    WeightedRows,
    local_search,
    own_places,
)
from segmentation.clustering.search_settings import GENERATIONS, LOCAL_SEARCH, Effort
from segmentation.clustering.seeding import draw, nearest


@dataclass(frozen=True)
class Found:
    """The best distinct solutions of one k, best first, and the WCSS of each independent start."""

    pool: tuple[Solution, ...]
    starts: tuple[float, ...]

    @property
    def best(self) -> Solution:
        """The solution with the lowest WCSS."""
        return self.pool[0]


def search_range(rows: WeightedRows, k_max: int, effort: Effort, seed: int) -> dict[int, Found]:
    """Search k = 1..k_max. WCSS never rises with k.

    Parameters
    ----------
    rows : WeightedRows
        At least ``k_max`` of them.
    k_max : int
    effort : Effort
    seed : int
    """
    d = rows.X.shape[1]
    only = local_search(rows, np.zeros((1, 1, d)))
    found = {1: Found(tuple(only), (only[0].wcss,))}
    for k in range(2, k_max + 1):
        rng = np.random.default_rng([seed, k, 0])
        independent = plus_plus(rows, k, effort.starts, rng)
        grown = grow(rows, found[k - 1].pool, effort.grown, rng)
        first = local(effort, rows, np.concatenate([independent, grown]))
        found[k] = _bred(rows, first, effort, rng)
    half = replace(effort, rounds=(effort.rounds + 1) // 2)
    for k in range(k_max - 1, 1, -1):
        rng = np.random.default_rng([seed, k, 1])
        fewer = local(effort, rows, shrink(found[k + 1].best), found[k].pool)
        pool = merge([*found[k].pool, *fewer])
        if pool[0].wcss < found[k].best.wcss:
            pool = evolve(rows, pool, half, rng)
        found[k] = Found(pool, found[k].starts)
    for k in range(2, k_max + 1):
        # The way down may have left k worse than an improved k - 1.
        if found[k].best.wcss > found[k - 1].best.wcss:
            rng = np.random.default_rng([seed, k, 2])
            more = local_search(rows, grow(rows, found[k - 1].pool[:1], effort.grown, rng))
            found[k] = Found(merge([*found[k].pool, *more]), found[k].starts)
    return found


def search_one(
    rows: WeightedRows, k: int, known: dict[int, Floats], effort: Effort, seed: int
) -> Found:
    """Search one k >= 2, with the known centres of k - 1, k and k + 1 (if given) as starts."""
    rng = np.random.default_rng([seed, k, 3])
    found = local_search(rows, plus_plus(rows, k, effort.starts, rng))
    if k in known:
        found += local_search(rows, known[k][None], known=found)
    if k + 1 in known:
        (more,) = local_search(rows, known[k + 1][None])
        found += local_search(rows, shrink(more), known=found)
    if k - 1 in known:
        fewer = local_search(rows, known[k - 1][None])
        found += local_search(rows, grow(rows, tuple(fewer), effort.grown, rng), known=found)
    return _bred(rows, found, effort, rng)


def local(
    effort: Effort, rows: WeightedRows, centers: Floats, known: Sequence[Solution] = ()
) -> list[Solution]:
    """Run `local_search` with the settings of this effort."""
    return local_search(rows, centers, known=known, hartigan=effort.hartigan, steps=effort.steps)


def _bred(
    rows: WeightedRows, first: list[Solution], effort: Effort, rng: np.random.Generator
) -> Found:
    """Evolve a pool from the first solutions; the independent ones come first in the list."""
    pool, independent = merge(first), first[: effort.starts]
    if hits(independent, pool[0].wcss) < effort.settled * len(independent):
        pool = evolve(rows, pool, effort, rng)
    return Found(pool, tuple(s.wcss for s in independent))


def merge(solutions: list[Solution]) -> tuple[Solution, ...]:
    """Return the `GENERATIONS.pool` best solutions with distinct WCSS, best first."""
    pool: list[Solution] = []
    for solution in sorted(solutions, key=lambda s: s.wcss):
        if not pool or not is_same(solution.wcss, pool[-1].wcss):
            pool.append(solution)
    return tuple(pool[: GENERATIONS.pool])


def is_same(wcss: float, better: float) -> bool:
    """Return whether two WCSS, the second no larger, differ by no more than rounding."""
    return wcss <= better * (1 + LOCAL_SEARCH.same)


def hits(solutions: Sequence[Solution], best: float) -> int:
    """Count the solutions whose WCSS is `best`."""
    return sum(is_same(solution.wcss, best) for solution in solutions)


def evolve(
    rows: WeightedRows, pool: tuple[Solution, ...], effort: Effort, rng: np.random.Generator
) -> tuple[Solution, ...]:
    """Breed the pool until its offspring agree or the rounds run out; it never gets worse."""
    confirmed = 0
    for _ in range(effort.rounds):
        mothers, fathers = rng.integers(len(pool), size=(2, GENERATIONS.brood, 2)).min(axis=2)
        centers = np.stack([solution.centers for solution in pool])
        children, crossed = centers[mothers], mothers != fathers
        children[crossed] = cross(children[crossed], centers[fathers[crossed]], rng)
        # A child of one parent is a copy: without a mutation it would stay where it started.
        mutant = ~crossed | (rng.random(GENERATIONS.brood) < 0.5)
        children[mutant] = relocate(rows, children[mutant], rng)
        best = pool[0].wcss
        grown_up = local_search(rows, children, known=pool)
        pool = merge([*pool, *grown_up])
        # A child of the best solution easily returns to it, which is weak evidence.
        others = [grown_up[i] for i in np.flatnonzero((mothers > 0) & (fathers > 0))]
        confirmed = hits(others, pool[0].wcss) + (confirmed if is_same(best, pool[0].wcss) else 0)
        agreed = hits(grown_up, pool[0].wcss) >= effort.agreed * GENERATIONS.brood
        if agreed or confirmed >= effort.confirmed:
            break
    return pool


def cross(a: Floats, b: Floats, rng: np.random.Generator) -> Floats:
    """Match the centres of two solutions and take one of each pair (Gribel & Vidal 2019, 3.2).

    Works on many pairs of solutions at once: a, b and the children have shape (pairs, k, d).
    """
    squared = ((a[:, :, None] - b[:, None]) ** 2).sum(axis=3)
    match = np.empty(a.shape[:2], dtype=np.intp)
    for pair, costs in enumerate(squared):
        _, match[pair] = linear_sum_assignment(costs)
    matched = np.take_along_axis(b, match[:, :, None], axis=1)
    return np.where(rng.random(match.shape)[:, :, None] < 0.5, a, matched)


def relocate(rows: WeightedRows, centers: Floats, rng: np.random.Generator) -> Floats:
    """Move one centre of each start (b, k, d), k >= 2, to a row drawn by D².

    Of two random centres, the one whose removal raises the WCSS least is moved (with all others
    fixed).
    """
    b, k, _ = centers.shape
    start = np.arange(b)
    D = rows.distances(centers)
    labels, near = nearest(D)
    np.maximum(near, 0.0, out=near)
    D.reshape(-1)[own_places(labels)] = np.inf
    second = D.min(axis=0)
    own = (labels + k * start[:, None]).ravel()
    missed = np.bincount(own, ((second - near) * rows.w).ravel(), minlength=b * k).reshape(b, k)
    pair = rng.integers(k, size=(b, 2))
    gone = pair[start, missed[start[:, None], pair].argmin(axis=1)]
    left = np.where(labels == gone[:, None], second, near)
    moved = centers.copy()
    moved[start, gone] = rows.X[draw(left * rows.w, rng)]
    return moved


def grow(
    rows: WeightedRows, pool: tuple[Solution, ...], count: int, rng: np.random.Generator
) -> Floats:
    """Build starts for k + 1 by adding a row drawn by D²: half to the best, half to the others."""
    parents = [pool[0] if i % 2 == 0 else pool[i // 2 % len(pool)] for i in range(count)]
    centers = np.stack([parent.centers for parent in parents])
    new = rows.X[draw(rows.squares_to(centers) * rows.w, rng)]
    return np.concatenate([centers, new[:, None]], axis=1)


def shrink(solution: Solution) -> Floats:
    """Build starts for k - 1 by leaving out each centre of the solution in turn."""
    return np.stack([np.delete(solution.centers, j, axis=0) for j in range(solution.k)])


def plus_plus(rows: WeightedRows, k: int, starts: int, rng: np.random.Generator) -> Floats:
    """Draw starts by k-means++, shape (starts, k, d)."""
    mass = np.broadcast_to(rows.w, (starts, rows.m))
    return seeding.plus_plus(rows, mass, k, rows.X.shape[1], rng)
