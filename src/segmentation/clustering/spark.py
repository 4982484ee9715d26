"""The engine for rows in Spark: the range is solved on a sample, then polished over all rows.

The search is the scikit-learn engine's. A pass over all rows is one Spark job for every k at once:
each partition adds up `segmentation.clustering.assignment.Totals` with the kernel of one machine,
and the driver adds the partitions' in their order. The encoded rows are kept on the executors as
blocks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering import assignment, squared_silhouette
from segmentation.clustering.assignment import Floats, Key, Totals
from segmentation.clustering.base import Clustering, Polish
from segmentation.clustering.engine_table import SklearnOptions, SparkOptions, changed
from segmentation.clustering.in_memory import InMemoryEngine
from segmentation.clustering.large_data import (
    FULL_PASSES,
    FULL_TOLERANCE,
    LAST_MARGINS,
    Rivals,
    same_solution,
)
from segmentation.clustering.lloyd import MOST_PASSES, TOLERANCE, Settled, settle
from segmentation.clustering.rows import check_ks, check_seed, labels_of, nearest_center

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

# Up to here blocks hold float64 and passes, which are short, go on to a tenth of the tolerance;
# beyond, a row is rounded by 6e-8 of its distance to the sample's mean, and the sums are as far off
# as one in a million.
EXACT_ROWS = 1_000_000
# Searches of a sample: a table that is not wholly in it has more optima than one search finds.
SEARCHES = 3
# Between their seeds, far from those a user tries in turn.
STEP = 1_000_003

Start = tuple[int, int]
# How far above the best of a sample (relative) a solution may be the best of all rows.
SAMPLE_NOISE = 5e-3
# Standard errors within which a centre of the sample is that of all rows.
NOISE = 5.0


@dataclass(frozen=True)
class SparkRows:
    """All rows, encoded, in Spark; and a sample of them here.

    Attributes
    ----------
    blocks : pyspark DataFrame
        Column ``rows``: the bytes of a block of encoded rows less `origin`, row by row.
    sample : ndarray of shape (m, d)
        Encoded rows.
    origin : ndarray of shape (d,)
        Amid the rows, so that little is lost where they lie far from zero.
    dtype : {"float32", "float64"}
        Of the blocks.
    whole : bool
        The sample holds all rows.
    say : callable
        Takes lines of progress.
    """

    blocks: DataFrame
    sample: Floats
    origin: Floats
    dtype: str
    whole: bool
    say: Callable[[str], None] = field(repr=False)

    @classmethod
    def of(
        cls,
        frame: DataFrame,
        encode: Callable[[pd.DataFrame], NDArray[Any]],
        sample: Floats,
        rows: int,
        say: Callable[[str], None],
    ) -> SparkRows:
        """Encode the rows of a table and keep them; `release` lets them go.

        Parameters
        ----------
        frame : pyspark DataFrame
            What `encode` takes.
        encode : callable
            From a pandas frame of n rows to an ndarray of shape (n, d); it is sent to executors.
        sample : ndarray of shape (m, d)
        rows : int
        say : callable
        """
        from pyspark import StorageLevel

        _send_by_value()
        origin = sample.mean(axis=0)
        dtype = "float64" if rows <= EXACT_ROWS else "float32"

        def blocks(batches: Iterable[Any]) -> Iterator[Any]:
            import pyarrow as pa

            for batch in batches:
                Z = np.asarray(encode(batch.to_pandas()), np.float64) - origin
                if not np.isfinite(Z).all():
                    raise ValueError("the scaled data are not finite")
                block = np.ascontiguousarray(Z, dtype).tobytes()
                yield pa.RecordBatch.from_pydict({"rows": pa.array([block], pa.binary())})

        kept = frame.mapInArrow(blocks, "rows binary").persist(StorageLevel.DISK_ONLY)
        return cls(kept, sample, origin, dtype, rows == len(sample), say)

    def release(self) -> None:
        """Let the executors forget the blocks."""
        self.blocks.unpersist()

    def totals(self, centers: Mapping[Key, Floats]) -> dict[Key, Totals]:
        """Totals of all rows for each set of centres; a `segmentation.clustering.lloyd.Pass`."""
        started = time.monotonic()
        shifted = {key: c - self.origin for key, c in centers.items()}
        kind, kernel = self.dtype, assignment.totals

        def added(X: NDArray[Any]) -> NDArray[np.float64]:
            found = kernel(X, shifted, dtype=kind, distances=True)
            return np.concatenate([_flat(found[key]) for key in shifted])

        whole = self._summed(added)
        found: dict[Key, Totals] = {}
        d = len(self.origin)
        for key, c in shifted.items():
            k = len(c)
            size = k * (d + 3)
            own, whole = whole[:size], whole[size:]
            weights, squares, distances = own[: 3 * k].reshape(3, k)
            sums = own[3 * k :].reshape(k, d) + weights[:, None] * self.origin
            found[key] = Totals(weights, sums, squares, distances)
        told = ", ".join(str(len(c)) for c in shifted.values())
        self.say(f"  pass over all rows for k = {told}: {time.monotonic() - started:.1f} s")
        return found

    def silhouettes(self, settled: Mapping[int, Settled]) -> dict[int, float]:
        """Mean silhouette of squared distances over all rows, for each k of two or more."""
        several = {k: one for k, one in sorted(settled.items()) if k > 1}
        if not several:
            return {}
        centers = {k: one.centers - self.origin for k, one in several.items()}
        known = {
            k: replace(one.totals, sums=one.totals.sums - one.totals.weights[:, None] * self.origin)
            for k, one in several.items()
        }

        kernel = squared_silhouette.squared_silhouettes

        def added(X: NDArray[Any]) -> NDArray[np.float64]:
            sums = kernel(X, centers, known)
            return np.array([sums[k] for k in centers])

        started = time.monotonic()
        sums = self._summed(added)
        self.say(f"  silhouette of squared distances: {time.monotonic() - started:.1f} s")
        return {k: float(s / known[k].weights.sum()) for k, s in zip(centers, sums, strict=True)}

    def _summed(self, one: Callable[[NDArray[Any]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """Sum over all blocks of what `one` makes of a block, in the partitions' order."""
        _send_by_value()
        d, kind = len(self.origin), self.dtype

        def partition(batches: Iterable[Any]) -> Iterator[Any]:
            import pyarrow as pa
            from pyspark import TaskContext

            added = None
            for batch in batches:
                for block in batch.column(0):
                    part = one(np.frombuffer(block.as_buffer(), kind).reshape(-1, d))
                    added = part if added is None else added + part
            if added is not None:
                context = TaskContext.get()
                number = context.partitionId() if context is not None else 0
                sums = pa.array([added.tobytes()], pa.binary())
                numbers = pa.array([number], pa.int32())
                yield pa.RecordBatch.from_pydict({"number": numbers, "sums": sums})

        rows = self.blocks.mapInArrow(partition, "number int, sums binary").collect()
        parts = {row.number: np.frombuffer(bytes(row.sums)) for row in rows}
        whole: Floats = np.sum([parts[number] for number in sorted(parts)], axis=0)
        return whole


@dataclass(frozen=True)
class SparkEngine:
    """K-Means for rows in Spark; an `segmentation.clustering.base.Engine`.

    Attributes
    ----------
    options : SparkOptions
        Its effort is that of the search on the sample.
    """

    options: SparkOptions = field(default_factory=SparkOptions)

    @property
    def improves_chosen(self) -> bool:
        """As of the engine for rows in memory."""
        return self.options.effort == "default"

    def with_options(self, **changes: Any) -> SparkEngine:
        """The same engine with some options changed; see `SparkOptions`."""
        return SparkEngine(changed(self.options, changes))

    def fit_k_range(
        self, rows: SparkRows, ks: Iterable[int], *, seed: int
    ) -> dict[int, Clustering]:
        """Fit K-Means for every k of a range together.

        Parameters
        ----------
        rows : SparkRows
        ks : iterable of int
        seed : int
            Same rows, cut into the same partitions, sample, range, options and seed: same bits.

        Returns
        -------
        dict of int to Clustering
            Keys ascending. WCSS over all rows, never rising with k; labels are the sample's.
        """
        wanted = sorted({int(k) for k in ks})
        check_seed(seed)
        # How many clusters there can be the search of the sample checks.
        check_ks(wanted, max(wanted, default=0))
        rows.say(f"Searching k = {wanted[0]}..{wanted[-1]} on {len(rows.sample):,} customers …")
        found = _rivals(rows, wanted, seed, self.options.effort)
        starts = {(k, i): one.centers for k, each in found.items() for i, one in enumerate(each)}
        best: dict[int, Settled] = {}
        for (k, _), settled in _settle(rows, starts, self.options.polish).items():
            if k not in best or settled.wcss < best[k].wcss:
                best[k] = settled
        leaders = {k: each[0] for k, each in found.items()}
        return _never_rising(rows, _clusterings(rows, best, leaders))

    def improve(
        self, rows: SparkRows, clusterings: dict[int, Clustering], k: int, *, seed: int
    ) -> dict[int, Clustering]:
        """Search one k harder on the sample, and keep what is better over all rows.

        Parameters and result as in `segmentation.clustering.in_memory.InMemoryEngine.improve`.
        """
        if k == 1:
            return dict(clusterings)
        known = {j: one for j, one in clusterings.items() if abs(j - k) <= 1}
        found = InMemoryEngine().improve(rows.sample, _of_sample(rows, known), k, seed=seed)
        starts = clusterings[k].starts + _scaled(found[k], clusterings[k].wcss)
        both = replace(clusterings[k], starts=starts)
        if _same(rows, clusterings[k], found[k].centers):
            return {**clusterings, k: both}
        settled = {k: _settle(rows, {(k, 0): found[k].centers}, self.options.polish)[k, 0]}
        if settled[k].totals.wcss >= clusterings[k].wcss:
            return {**clusterings, k: both}
        better = _clusterings(rows, settled, found)[k]
        return _never_rising(rows, {**clusterings, k: replace(better, starts=both.starts)})


def _rivals(rows: SparkRows, ks: list[int], seed: int, effort: str) -> dict[int, list[Clustering]]:
    """The best solutions of each k on the sample, best first: which of them wins, all rows say."""
    turns = 1 if rows.whole else SEARCHES
    engine = InMemoryEngine(SklearnOptions(effort=effort))
    tried = [engine.fit_k_range(rows.sample, ks, seed=seed + turn * STEP) for turn in range(turns)]
    rivals: dict[int, list[Clustering]] = {}
    for k in ks:
        pool = sorted((each[k] for each in tried), key=lambda one: one.wcss)
        kept: list[Clustering] = []
        for one in pool:
            near = one.wcss <= pool[0].wcss * (1 + SAMPLE_NOISE)
            if near and not any(same_solution(known, one) for known in kept):
                kept.append(one)
        rivals[k] = kept
    return rivals


def _settle(rows: SparkRows, starts: Mapping[Start, Floats], polish: str) -> dict[Start, Settled]:
    full = polish == "full"
    return settle(
        rows.totals,
        starts,
        tolerance=FULL_TOLERANCE if full else TOLERANCE * (1 if rows.dtype == "float32" else 0.1),
        most=FULL_PASSES if full else MOST_PASSES,
        rivalry=Rivals(LAST_MARGINS),
    )


def _clusterings(
    rows: SparkRows, settled: Mapping[int, Settled], found: Mapping[int, Clustering]
) -> dict[int, Clustering]:
    silhouettes = rows.silhouettes(settled)
    return {
        k: Clustering(
            k,
            one.centers,
            one.totals.wcss,
            _scaled(found[k], one.totals.wcss),
            partial(labels_of, rows.sample),
            one.totals,
            Polish(one.passes, one.gain, _sample_se(rows.sample, one.centers)),
            silhouettes.get(k),
        ).reordered(np.lexsort(one.centers.T[::-1]))
        for k, one in sorted(settled.items())
    }


def _never_rising(rows: SparkRows, solved: dict[int, Clustering]) -> dict[int, Clustering]:
    """Rebuild each k that has more WCSS than a smaller one upon that one's centres."""
    ks = sorted(solved)
    for smaller, k in pairwise(ks):
        below = solved[smaller]
        if solved[k].wcss <= below.wcss:
            continue
        centers = below.centers
        while len(centers) < k:
            _, d2 = nearest_center(rows.sample, centers)
            centers = np.vstack([centers, rows.sample[int(d2.argmax())]])
        settled = settle(rows.totals, {k: centers})
        grown = _clusterings(rows, settled, solved)[k]
        # What is left above is rounding: a row that leaves for its own centre cannot add WCSS.
        solved[k] = replace(grown, wcss=min(grown.wcss, below.wcss))
    return solved


def _same(rows: SparkRows, known: Clustering, centers: Floats) -> bool:
    """Whether centres found on the sample are the known ones, but for what a sample is off."""
    assert known.totals is not None
    shift = ((centers[:, None] - known.centers) ** 2).sum(axis=2)
    nearest = shift.argmin(axis=1)
    sizes = np.maximum(known.totals.weights, 1)
    drawn = len(rows.sample) / sizes.sum() * sizes
    noise = known.totals.squares / sizes / drawn
    one_each = len(np.unique(nearest)) == len(centers)
    return one_each and bool((shift.min(axis=1) <= NOISE**2 * noise[nearest]).all())


def _of_sample(rows: SparkRows, clusterings: Mapping[int, Clustering]) -> dict[int, Clustering]:
    """The same centres with the WCSS of the sample, which the search compares."""
    own = {}
    for k, one in clusterings.items():
        _, d2 = nearest_center(rows.sample, one.centers)
        own[k] = Clustering(k, one.centers, float(d2.sum()), (), partial(labels_of, rows.sample))
    return own


def _scaled(found: Clustering, wcss: float) -> tuple[float, ...]:
    """What the starts reached on the sample, in their ratio to its best, for all rows."""
    return tuple(start / (found.wcss or 1.0) * wcss for start in found.starts)


def _sample_se(sample: Floats, centers: Floats) -> float:
    """Relative standard error of the WCSS as the sample tells it."""
    squares = nearest_center(sample, centers)[1]
    return float(squares.std() / (squares.mean() or 1.0) / np.sqrt(len(sample)))


def _flat(found: Totals) -> NDArray[np.float64]:
    return np.concatenate([found.weights, found.squares, found.distances, found.sums.ravel()])


def _send_by_value() -> None:
    """Let executors do without this package: what they run of it travels with the job."""
    from pyspark import cloudpickle

    for module in (assignment, squared_silhouette, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
