"""Search for the best K-Means solutions of all k together.

Each k has a small genetic search (HG-means, Gribel & Vidal 2019): solutions are crossed by matching
their centres, mutated by moving a centre and improved by local search. The searches follow a path
over k. On the way up, solutions of k - 1 plus one centre are starts for k; on the way down,
solutions of k + 1 minus one centre.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.optimize import linear_sum_assignment

from segmentation.clustering import seeding
from segmentation.clustering.assignment import Floats
from segmentation.clustering.local_search import local_search
from segmentation.clustering.search_settings import GENERATIONS, LOCAL_SEARCH, Effort
from segmentation.clustering.seeding import draw, nearest
from segmentation.clustering.weighted_rows import Solution, WeightedRows, own_places


@dataclass(frozen=True)
class Found:
    """The best distinct solutions of one k, best first, and the WCSS of each independent start."""

    pool: tuple[Solution, ...]
    starts: tuple[float, ...]

    @property
    def best(self) -> Solution:
        """The solution with the lowest WCSS."""
        return self.pool[0]


def search_range(
    rows: WeightedRows, ks: Iterable[int], effort: Effort, seed: int
) -> dict[int, Found]:
    """Search some k, those up to `GENERATIONS.ladder` with all k below. WCSS never rises with k.

    Parameters
    ----------
    rows : WeightedRows
        At least as many as the largest k.
    ks : iterable of int
    effort : Effort
    seed : int

    Returns
    -------
    dict of int to Found
        Every k that was searched, ascending.
    """
    wanted = set(ks)
    steps = max((k for k in wanted if k <= GENERATIONS.ladder), default=1)
    path = sorted({*range(1, steps + 1), *wanted})
    only = local_search(rows, np.zeros((1, 1, rows.X.shape[1])))
    found = {1: Found(tuple(only), (only[0].wcss,))}
    for k in path[1:]:
        rng = np.random.default_rng([seed, k, 0])
        starts = plus_plus(rows, k, effort.starts, rng)
        if k - 1 in found:
            grown = grow(rows, found[k - 1].pool, effort.grown, rng)
            starts = np.concatenate([starts, grown])
        harder = effort.at(k, rows.m, alone=k - 1 not in found)
        found[k] = _bred(rows, local(effort, rows, starts), harder, rng)
    half = replace(effort, rounds=(effort.rounds + 1) // 2)
    for k in reversed(path[1:-1]):
        if k + 1 not in found:
            continue
        rng = np.random.default_rng([seed, k, 1])
        fewer = local(effort, rows, shrink(found[k + 1].best), found[k].pool)
        pool = merge([*found[k].pool, *fewer])
        if pool[0].wcss < found[k].best.wcss:
            pool = evolve(rows, pool, half.at(k, rows.m), rng)
        found[k] = Found(pool, found[k].starts)
    for below, k in pairwise(path):
        # The way down may have left k worse than an improved smaller k.
        if k == below + 1 and found[k].best.wcss > found[below].best.wcss:
            rng = np.random.default_rng([seed, k, 2])
            more = local_search(rows, grow(rows, found[below].pool[:1], effort.grown, rng))
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
    return _bred(rows, found, effort.at(k, rows.m, alone=k - 1 not in known), rng)


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
    """Return the best solutions with distinct WCSS, best first."""
    many = solutions[0].k > GENERATIONS.usual_k
    pool: list[Solution] = []
    for solution in sorted(solutions, key=lambda s: s.wcss):
        if not pool or not is_same(solution.wcss, pool[-1].wcss):
            pool.append(solution)
    return tuple(pool[: GENERATIONS.pool_of_many if many else GENERATIONS.pool])


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
