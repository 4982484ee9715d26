"""The engine for rows in Spark: it solves the range on a sample and polishes it over all rows.

The in-memory engine does the search. A pass over all rows is one Spark job for every k at once:
each partition computes `segmentation.clustering.assignment.Totals` with the same kernel as on one
machine, and the driver adds the partitions in order. The encoded rows are kept as blocks on the
executors.
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
from segmentation.clustering.large_data import Rivals, same_solution
from segmentation.clustering.lloyd import Settled, settle
from segmentation.clustering.rows import check_ks, check_seed, labels_of, nearest_center
from segmentation.clustering.search_settings import LARGE_DATA, PASSES, SPARK

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import DataFrame

Start = tuple[int, int]


@dataclass(frozen=True)
class SparkRows:
    """All encoded rows in Spark, and a sample of them in this process.

    Attributes
    ----------
    blocks : pyspark DataFrame
        Column ``rows``: the bytes of a block of encoded rows minus `origin`, row by row.
    sample : ndarray of shape (m, d)
        Encoded rows.
    origin : ndarray of shape (d,)
        A point among the rows, so that little precision is lost if they are far from zero.
    dtype : {"float32", "float64"}
        Type of the blocks.
    whole : bool
        Whether the sample holds all rows.
    say : callable
        Receives lines of progress.
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
        """Encode the rows of a table and keep them until `release` is called.

        Parameters
        ----------
        frame : pyspark DataFrame
            The columns that `encode` takes.
        encode : callable
            Maps a pandas frame of n rows to an ndarray of shape (n, d); it is sent to executors.
        sample : ndarray of shape (m, d)
        rows : int
        say : callable
        """
        from pyspark import StorageLevel

        _send_by_value()
        origin = sample.mean(axis=0)
        dtype = "float64" if rows <= SPARK.exact_rows else "float32"

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
        """Remove the blocks from the executors."""
        self.blocks.unpersist()

    def totals(self, centers: Mapping[Key, Floats]) -> dict[Key, Totals]:
        """Run one pass over all rows; implements `segmentation.clustering.lloyd.Pass`."""
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
        ks = ", ".join(str(len(c)) for c in shifted.values())
        self.say(f"  pass over all rows for k = {ks}: {time.monotonic() - started:.1f} s")
        return found

    def silhouettes(self, settled: Mapping[int, Settled]) -> dict[int, float]:
        """Return the mean silhouette of squared distances over all rows, for each k >= 2."""
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
        """Sum the results of `one` over all blocks, in the order of the partitions."""
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
    """K-Means for rows in Spark; a `segmentation.clustering.base.Engine`.

    Attributes
    ----------
    options : SparkOptions
        Its effort applies to the search on the sample.
    """

    options: SparkOptions = field(default_factory=SparkOptions)

    @property
    def improves_chosen(self) -> bool:
        """As for the engine for rows in memory."""
        return self.options.effort == "default"

    def with_options(self, **changes: Any) -> SparkEngine:
        """Return the same engine with some options changed; see `SparkOptions`."""
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
            The same rows in the same partitions, sample, range, options and seed give the same
            bits.

        Returns
        -------
        dict of int to Clustering
            Keys ascending. WCSS is over all rows and never rises with k; labels are those of the
            sample.
        """
        wanted = sorted({int(k) for k in ks})
        check_seed(seed)
        # The search on the sample checks k against the number of distinct rows.
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
        """Search one k harder on the sample, and keep the better solution over all rows.

        Parameters and result are as in `segmentation.clustering.in_memory.InMemoryEngine.improve`.
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
    """Return the sample's best solutions of each k, best first, to be compared on all rows."""
    turns = 1 if rows.whole else SPARK.searches
    engine = InMemoryEngine(SklearnOptions(effort=effort))
    seeds = [seed + turn * SPARK.seed_step for turn in range(turns)]
    tried = [engine.fit_k_range(rows.sample, ks, seed=each) for each in seeds]
    rivals: dict[int, list[Clustering]] = {}
    for k in ks:
        pool = sorted((each[k] for each in tried), key=lambda one: one.wcss)
        kept: list[Clustering] = []
        for one in pool:
            near = one.wcss <= pool[0].wcss * (1 + SPARK.sample_noise)
            if near and not any(same_solution(known, one) for known in kept):
                kept.append(one)
        rivals[k] = kept
    return rivals


def _settle(rows: SparkRows, starts: Mapping[Start, Floats], polish: str) -> dict[Start, Settled]:
    full = polish == "full"
    tolerance = PASSES.tolerance * (1 if rows.dtype == "float32" else 0.1)
    return settle(
        rows.totals,
        starts,
        tolerance=PASSES.full_tolerance if full else tolerance,
        most=PASSES.full_most if full else PASSES.most,
        rivalry=Rivals(LARGE_DATA.last_margins),
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
    """Rebuild each k with a higher WCSS than a smaller k, from the centres of the smaller k."""
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
        # Any excess is rounding: giving a row its own centre cannot raise the WCSS.
        solved[k] = replace(grown, wcss=min(grown.wcss, below.wcss))
    return solved


def _same(rows: SparkRows, known: Clustering, centers: Floats) -> bool:
    """Return whether centres found on the sample equal the known ones within sampling error."""
    assert known.totals is not None
    shift = ((centers[:, None] - known.centers) ** 2).sum(axis=2)
    nearest = shift.argmin(axis=1)
    sizes = np.maximum(known.totals.weights, 1)
    drawn = len(rows.sample) / sizes.sum() * sizes
    noise = known.totals.squares / sizes / drawn
    one_each = len(np.unique(nearest)) == len(centers)
    return one_each and bool((shift.min(axis=1) <= SPARK.noise**2 * noise[nearest]).all())


def _of_sample(rows: SparkRows, clusterings: Mapping[int, Clustering]) -> dict[int, Clustering]:
    """Return the same centres with the WCSS of the sample, which the search compares."""
    own = {}
    for k, one in clusterings.items():
        _, d2 = nearest_center(rows.sample, one.centers)
        own[k] = Clustering(k, one.centers, float(d2.sum()), (), partial(labels_of, rows.sample))
    return own


def _scaled(found: Clustering, wcss: float) -> tuple[float, ...]:
    """Scale the WCSS that starts reached on the sample to all rows."""
    return tuple(start / (found.wcss or 1.0) * wcss for start in found.starts)


def _sample_se(sample: Floats, centers: Floats) -> float:
    """Return the relative standard error of the WCSS estimated from the sample."""
    squares = nearest_center(sample, centers)[1]
    return float(squares.std() / (squares.mean() or 1.0) / np.sqrt(len(sample)))


def _flat(found: Totals) -> NDArray[np.float64]:
    return np.concatenate([found.weights, found.squares, found.distances, found.sums.ravel()])


def _send_by_value() -> None:
    """Pickle these modules by value, so that executors do not need this package installed."""
    from pyspark import cloudpickle

    for module in (assignment, squared_silhouette, sys.modules[__name__]):
        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
