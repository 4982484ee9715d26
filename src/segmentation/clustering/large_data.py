"""The large-data path: solve the whole k range on samples, then settle it on all rows.

Each sample is a subset of the next: a small one for the engine's search; one that screens starts;
one on which neighbours in k improve each other; and an eighth of all rows, which refines solutions
and decides between rivals. A few passes over all rows are then enough.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from segmentation.clustering.assignment import Floats, squares
from segmentation.clustering.base import Clustering
from segmentation.clustering.coresets import Rows
from segmentation.clustering.global_search import Found, search_one, search_range
from segmentation.clustering.lloyd import Settled, settle
from segmentation.clustering.nested_samples import Samples
from segmentation.clustering.search_settings import LARGE_DATA, PASSES

Start = tuple[int, int]
Pools = dict[int, list[Settled]]


@dataclass(frozen=True)
class Solved:
    """One k solved on samples and settled on all rows.

    Attributes
    ----------
    settled : Settled
        The solution on all rows.
    starts : tuple of float
        WCSS that independent starts reached on the smallest sample, scaled to all rows.
    sample_se : float
        Relative standard error of the WCSS estimated from the climb's sample: the typical error of
        a fit on that sample alone.
    """

    settled: Settled
    starts: tuple[float, ...]
    sample_se: float


def solve_range(samples: Samples, k_max: int, effort: str, *, full: bool) -> dict[int, Solved]:
    """Solve k = 1..k_max. WCSS never rises with k.

    Parameters
    ----------
    samples : Samples
    k_max : int
    effort : {"fast", "default", "thorough"}
    full : bool
        Run Lloyd's algorithm on all rows to convergence, not only until a pass gains almost
        nothing.
    """
    # One more k, so that the largest k gets starts from its neighbour too.
    found = search_range(samples.search_rows, range(1, k_max + 2), LARGE_DATA.search, samples.seed)
    starts = {k: [solution.centers + samples.origin for solution in found[k].pool] for k in found}
    settled: dict[int, Settled] = {}
    if k_max > 1:
        pools = _climb(samples, starts, found, LARGE_DATA.rounds[effort])
        settled = _settled(samples, {k: pools[k] for k in range(2, k_max + 1)}, full=full)
    one = samples.origin[None]
    totals = samples.precise({1: one, **{k: each.centers for k, each in settled.items()}})
    solved = {k: each.measured(totals[k]) for k, each in settled.items()}
    # The centre of a single cluster is exactly the mean.
    solved[1] = Settled(one, totals[1], gain=0.0, passes=1)
    for k in range(2, k_max + 1):
        if solved[k].wcss > solved[k - 1].wcss:
            solved[k] = _grown(samples, solved[k - 1])
    return {k: _told(samples, solved[k], found[k]) for k in range(1, k_max + 1)}


def solve_one(
    samples: Samples, k: int, known: Mapping[int, Floats], effort: str, *, full: bool
) -> Solved:
    """Solve one k >= 2 again, and harder, from its known centres and those of its neighbours."""
    inward = {j: centers - samples.origin for j, centers in known.items()}
    found = search_one(samples.search_rows, k, inward, LARGE_DATA.search_harder, samples.seed)
    starts = {j: [centers] for j, centers in known.items()}
    starts[k] = [*starts[k], *(s.centers + samples.origin for s in found.pool)]
    pools = _climb(samples, starts, [k], LARGE_DATA.rounds[effort])
    settled = _settled(samples, {k: pools[k]}, full=full)[k]
    return _told(samples, settled.measured(samples.precise({k: settled.centers})[k]), found)


def _settled(samples: Samples, pools: Pools, *, full: bool) -> dict[int, Settled]:
    """Refine the best solutions of each k on the largest sample, then settle them on all rows.

    Single precision is enough here, because one more pass measures the totals.
    """
    spread = float(samples.climbing.weights @ squares(samples.climbing.X, samples.origin[None]))
    tightest = min(pool[0].wcss for pool in pools.values())
    dtype = np.float32 if spread < LARGE_DATA.single_precision_spread * tightest else np.float64
    rivals = {
        (k, i): rival.centers
        for k, pool in pools.items()
        for i, rival in enumerate(_near_best(samples.climbing, pool))
    }
    refined = _by_k(
        settle(
            samples.over(samples.refining, dtype),
            rivals,
            tolerance=LARGE_DATA.refine_tolerance,
            most=LARGE_DATA.sample_passes,
            rivalry=Rivals(LARGE_DATA.refine_margins, noise=LARGE_DATA.refine_margins[-1]),
        )
    )
    last = {
        (k, i): rival.centers
        for k, pool in refined.items()
        for i, rival in enumerate(_near_best(samples.refining, pool))
    }
    # A pass over fewer rows costs less, so a smaller gain is worth it.
    cost = min(1.0, len(samples.rows.X) / LARGE_DATA.rows_of_tolerance)
    settled = settle(
        samples.over(samples.rows, np.float64 if full else dtype),
        last,
        tolerance=PASSES.full_tolerance if full else PASSES.tolerance * cost,
        most=PASSES.full_most if full else PASSES.most,
        rivalry=Rivals(LARGE_DATA.last_margins),
    )
    return {k: pool[0] for k, pool in _by_k(settled).items()}


def _climb(
    samples: Samples, starts: Mapping[int, list[Floats]], wanted: Collection[int], rounds: int
) -> Pools:
    """Let neighbours in k exchange starts until no WCSS falls any more."""
    first = {(k, i): centers for k, each in starts.items() for i, centers in enumerate(each)}
    pools = _climbed(samples, first)
    rng = np.random.default_rng([samples.seed, max(starts)])
    for turn in range(rounds):
        best = {k: pool[0].wcss for k, pool in pools.items()}
        # Take the best, then the second best, and so on: rivals lead to other optima than the best.
        parents = {k: pool[turn % len(pool)] for k, pool in pools.items()}
        reach = {k: _reach(samples.climbing, parent.centers) for k, parent in parents.items()}
        tried = {
            (k, i): centers
            for k in wanted
            for i, centers in enumerate(_offspring(samples.climbing, parents, reach, k, rng))
        }
        new = _climbed(samples, _screened(samples, tried, pools), pools)
        pools |= {k: _distinct([*pools[k], *new[k]]) for k in new}
        # The last k of a range is only there to help the one before it.
        asked = list(wanted)[:-1] or wanted
        if all(pools[k][0].wcss > best[k] * (1 - LARGE_DATA.climb_gain) for k in asked):
            break
    return pools


def _screened(
    samples: Samples, starts: Mapping[Start, Floats], known: Pools
) -> dict[Start, Floats]:
    """Return the starts that are near the best of their k after two passes over a small sample."""
    run = samples.over(samples.screening)
    ended = settle(run, starts, most=2)
    best = run({k: pool[0].centers for k, pool in known.items()})
    return {
        (k, i): start.centers
        for (k, i), start in ended.items()
        if start.wcss <= best[k].wcss * (1 + LARGE_DATA.screen_margin)
    }


def _climbed(samples: Samples, starts: Mapping[Start, Floats], known: Pools | None = None) -> Pools:
    return _by_k(
        settle(
            samples.over(samples.climbing),
            starts,
            tolerance=LARGE_DATA.climb_tolerance,
            most=LARGE_DATA.sample_passes,
            rivalry=Rivals(LARGE_DATA.climb_margins, known),
        )
    )


def _offspring(
    rows: Rows,
    parents: Mapping[int, Settled],
    reach: Mapping[int, Floats],
    k: int,
    rng: np.random.Generator,
) -> Iterator[Floats]:
    """Yield starts for k: merge two centres of k + 1, add a row to k - 1, or do both to k."""
    if k == 1:
        return
    if k + 1 in parents:
        yield from _merged(parents[k + 1])
    if k - 1 in parents:
        fewer = parents[k - 1].centers
        yield from (np.vstack([fewer, row]) for row in _far_rows(rows, reach[k - 1], rng))
    for centers, row in zip(_merged(parents[k]), _far_rows(rows, reach[k], rng), strict=False):
        yield np.vstack([centers, row])


def _merged(parent: Settled) -> Iterator[Floats]:
    """Yield the centres with two of them replaced by their mean, for the cheapest pairs.

    Merging a and b costs ``w_a w_b / (w_a + w_b) |a - b|²`` (Ward 1963).
    """
    c, w = parent.centers, parent.totals.weights
    first, second = np.triu_indices(len(c), 1)
    both = w[first] + w[second]
    cost = ((c[first] - c[second]) ** 2).sum(axis=1) * w[first] * w[second] / both
    for pair in cost.argsort(kind="stable")[: LARGE_DATA.tries]:
        a, b = first[pair], second[pair]
        mean = (w[a] * c[a] + w[b] * c[b]) / both[pair]
        yield np.vstack([np.delete(c, [a, b], axis=0), mean])


def _reach(rows: Rows, centers: Floats) -> Floats:
    """Return the cumulative contribution of the rows to the WCSS."""
    reach: Floats = np.cumsum(squares(rows.X, centers) * rows.weights)
    return reach


def _far_rows(rows: Rows, reach: Floats, rng: np.random.Generator) -> Floats:
    """Draw `LARGE_DATA.tries` rows by their share of the WCSS, as k-means++ does."""
    drawn = np.searchsorted(reach, rng.random(LARGE_DATA.tries) * reach[-1], side="right")
    far: Floats = rows.X[np.minimum(drawn, len(rows.X) - 1)]
    return far


class Rivals:
    """Gives up starts that are too far above the best of their k or reach a known solution.

    Parameters
    ----------
    margins : tuple of float
        How far above the best (relative) a start may be after 1, 2, 4, … passes; the last value
        holds for all later passes.
    known : mapping of k to list of Settled, optional
        Solutions found earlier.
    noise : float
        Within this relative distance of the best, a start counts as equally good and has to settle.
    """

    def __init__(
        self,
        margins: tuple[float, ...],
        known: Mapping[int, list[Settled]] | None = None,
        noise: float = 0.0,
    ) -> None:
        self.margins, self.noise = margins, noise
        self.known = known or {}
        self.lowest: dict[Start, float] = defaultdict(lambda: np.inf)
        self.best: dict[int, float] = defaultdict(lambda: np.inf)
        self.best |= {k: pool[0].wcss for k, pool in self.known.items()}

    def enough(self, start: Start, wcss: float) -> float:
        """Return the gain below which this start stops because it cannot come near the best."""
        above = wcss / self.best[start[0]] - 1
        return LARGE_DATA.stop_share * above if above > self.noise else 0.0

    def hopeless(self, going: Mapping[Start, Settled], number: int) -> list[Start]:
        """Return the starts to give up after this pass."""
        for (k, i), start in going.items():
            # A long stride can overshoot. Compare the lowest WCSS, or the best might be dropped.
            self.lowest[k, i] = min(self.lowest[k, i], start.wcss)
            self.best[k] = min(self.best[k], start.wcss)
        margin = self.margins[min(number // 2, len(self.margins) - 1)]
        return [
            (k, i)
            for (k, i), start in going.items()
            if self.lowest[k, i] > self.best[k] * (1 + margin)
            # Most starts slowly fall back to their parents' solutions: no need to wait for that.
            or any(same_solution(solution, start) for solution in self.known.get(k, ()))
        ]


def _by_k(found: Mapping[Start, Settled]) -> Pools:
    pools: Pools = defaultdict(list)
    for (k, _), settled in found.items():
        pools[k].append(settled)
    return {k: _distinct(pool) for k, pool in sorted(pools.items())}


def _distinct(pool: Iterable[Settled]) -> list[Settled]:
    """Return the `LARGE_DATA.pool` best distinct solutions, best first."""
    kept: list[Settled] = []
    for settled in sorted(pool, key=lambda s: s.wcss):
        if not any(same_solution(known, settled) for known in kept):
            kept.append(settled)
    return kept[: LARGE_DATA.pool]


def same_solution(a: Settled | Clustering, b: Settled | Clustering) -> bool:
    """Return whether two solutions for one k are the same, not quite settled."""
    apart = ((a.centers[:, None] - b.centers[None]) ** 2).sum(axis=2).min(axis=1)
    sizes = a.sizes if isinstance(a, Clustering) else a.totals.weights
    return float(sizes @ apart) <= LARGE_DATA.same * a.wcss


def _near_best(sample: Rows, pool: list[Settled]) -> list[Settled]:
    """Return the best solution and a few that the sample cannot distinguish from it.

    The standard error of the difference of two WCSS comes from the differences per row, so it is
    far smaller than the standard error of either WCSS.
    """
    best, *others = pool
    most = max(LARGE_DATA.rivals, LARGE_DATA.rival_numbers // sample.X.shape[1])
    kept, least = [best], squares(sample.X, best.centers)
    for rival in others:
        if len(kept) == most or rival.wcss > best.wcss * (1 + LARGE_DATA.most_noise):
            break
        apart = sample.weights * (squares(sample.X, rival.centers) - least)
        if apart.sum() <= LARGE_DATA.sure * np.sqrt(apart @ apart):
            kept.append(rival)
    return kept


def _grown(samples: Samples, fewer: Settled) -> Settled:
    """Add one centre to a better solution of k - 1, which lowers its WCSS."""
    rng = np.random.default_rng([samples.seed, len(fewer.centers)])
    reach = _reach(samples.climbing, fewer.centers)
    starts = {
        i: np.vstack([fewer.centers, row])
        for i, row in enumerate(_far_rows(samples.climbing, reach, rng))
    }
    settled = settle(samples.over(samples.rows, np.float64), starts)
    best = min(settled.values(), key=lambda s: s.wcss)
    return best.measured(samples.precise({0: best.centers})[0])


def _told(samples: Samples, settled: Settled, found: Found) -> Solved:
    best = found.best.wcss or 1.0
    near, w = squares(samples.climbing.X, settled.centers), samples.climbing.weights
    total = float(near @ w)
    off = w * (near - total / w.sum())
    return Solved(
        settled=settled,
        starts=tuple(settled.wcss * start / best for start in found.starts),
        sample_se=float(np.sqrt((off**2).sum())) / (total or 1.0),
    )
