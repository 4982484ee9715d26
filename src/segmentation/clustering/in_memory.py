"""The engine for arrays in memory.

Up to 20,000 distinct rows take the exact path, which searches all of them. Above that the
large-data path of `segmentation.clustering.large_data` takes over. Where that cannot be used, more
rows are searched on a weighted sample whose best solutions scikit-learn refines on all rows. Every
path works on distinct rows, or draws rows by their values. The result therefore does not depend on
the order of the rows or, up to rounding, on whether a row is repeated or weighted.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from segmentation.clustering import large_data
from segmentation.clustering.assignment import Floats
from segmentation.clustering.base import Clustering
from segmentation.clustering.engine_table import SklearnOptions, changed
from segmentation.clustering.global_search import (
    Found,
    plus_plus,
    search_one,
    search_range,
)
from segmentation.clustering.local_search import local_search
from segmentation.clustering.nested_samples import Samples
from segmentation.clustering.rows import (
    Table,
    check_ks,
    check_seed,
    clustering_of,
    labels_of,
    nearest_center,
)
from segmentation.clustering.search_settings import EFFORTS, EXACT_PATH
from segmentation.clustering.weighted_rows import WeightedRows
from segmentation.errors import ConfigError
from segmentation.runtime.threads import at_most


@dataclass(frozen=True)
class InMemoryEngine:
    """K-Means for arrays; a `segmentation.clustering.base.Engine`.

    Attributes
    ----------
    options : SklearnOptions
    """

    options: SklearnOptions = field(default_factory=SklearnOptions)

    @property
    def improves_chosen(self) -> bool:
        """True for the default effort: ``fast`` should stay fast, ``thorough`` needs no more."""
        return self.options.effort == "default"

    def with_options(self, **changes: Any) -> InMemoryEngine:
        """Return the same engine with some options changed; see `SklearnOptions`."""
        return InMemoryEngine(changed(self.options, changes))

    def fit_k_range(
        self,
        rows: NDArray[np.float64],
        ks: Iterable[int],
        *,
        seed: int,
        sample_weight: NDArray[np.float64] | None = None,
        **options: str,
    ) -> dict[int, Clustering]:
        """Fit K-Means for every k of a range together.

        Parameters
        ----------
        rows : ndarray of shape (n, d)
            Finite rows in the scaled space.
        ks : iterable of int
            Numbers of clusters, each at least 1. Up to 20, all smaller k are searched too, because
            each k provides starts for its neighbours. The large-data path searches every smaller k.
        seed : int
            Non-negative. The same rows (in any order), weights, range, options and seed give the
            same bits.
        sample_weight : ndarray of shape (n,), optional
            Non-negative weights. A row of weight 3 is exactly the same as three equal rows.
        **options : str
            ``effort``, ``path`` and ``polish``: a shorthand for ``with_options(…)``.

        Returns
        -------
        dict of int to Clustering
            Keys ascending. WCSS never rises with k.

        Raises
        ------
        ConfigError
            A k is below 1 or above the number of distinct rows, or an option is not allowed.
        DataError
            The rows or the weights cannot be used.

        Examples
        --------
        >>> import numpy as np
        >>> from segmentation.clustering import ENGINES
        >>> Z = np.array([[0.0], [1.0], [10.0], [11.0]])
        >>> fitted = ENGINES["sklearn"].fit_k_range(Z, [1, 2], seed=0)
        >>> fitted[2].wcss, fitted[2].labels.tolist()
        (1.0, [0, 0, 1, 1])
        """
        if options:
            engine = self.with_options(**options)
            return engine.fit_k_range(rows, ks, seed=seed, sample_weight=sample_weight)
        wanted = sorted({int(k) for k in ks})
        check_seed(seed)
        effort, full = self.options.effort, self.options.polish == "full"
        table = Table.of(rows, sample_weight, self.options.path)
        check_ks(wanted, table.distinct)
        with at_most(1):
            if table.large:
                Z = table.Z
                sampling = _samples(table, wanted[-1], seed)
                # Free the positions of equal rows: they take a quarter of the rows' memory.
                del table
                with sampling as samples:
                    solved = large_data.solve_range(samples, wanted[-1], effort, full=full)
                return {k: clustering_of(solved[k], Z) for k in wanted}
            data = _Data.of(table)
            sample = _search_rows(data.rows, wanted[-1], seed)
            found = search_range(sample, wanted, EFFORTS[effort], seed)
            finished = {k: data.finish(found[k], sample) for k in found}
            return {k: data.not_above(finished, k) for k in wanted}

    def improve(
        self,
        rows: NDArray[np.float64],
        clusterings: dict[int, Clustering],
        k: int,
        *,
        seed: int,
        effort: str = "thorough",
        sample_weight: NDArray[np.float64] | None = None,
    ) -> dict[int, Clustering]:
        """Search one k harder, starting from its known solution and those of its neighbours.

        Parameters
        ----------
        rows, seed, sample_weight
            As given to `fit_k_range`.
        clusterings : dict of int to Clustering
            From `fit_k_range` on the same rows; not modified.
        k : int
            One of its keys.
        effort : {"fast", "default", "thorough"}
            Effort of this search.

        Returns
        -------
        dict of int to Clustering
            The same keys. k has the better of the two solutions and the starts of both searches.
            WCSS never rises with k: if the new solution beats a larger k, that k is rebuilt from
            it.
        """
        if k not in clusterings:
            raise ConfigError(
                f"cannot improve k={k}: it was not fitted; the fitted k are {sorted(clusterings)}"
            )
        options = changed(self.options, {"effort": effort})
        check_seed(seed)
        if k == 1:
            return dict(clusterings)
        table = Table.of(rows, sample_weight, options.path)
        near = {j: clusterings[j].centers for j in clusterings if abs(j - k) <= 1}
        old, full = clusterings[k], options.polish == "full"
        with at_most(1):
            if table.large:
                Z = table.Z
                sampling = _samples(table, max(clusterings), seed)
                del table
                with sampling as samples:
                    solved_one = large_data.solve_one(samples, k, near, effort, full=full)
                new = clustering_of(solved_one, Z)
                # The new solution must not beat a larger k, because rebuilding that k costs a fit.
                above = min((c.wcss for j, c in clusterings.items() if j > k), default=-np.inf)
                best = new if above <= new.wcss < old.wcss else old
                return {**clusterings, k: replace(best, starts=old.starts + new.starts)}
            data = _Data.of(table)
            sample = _search_rows(data.rows, max(clusterings), seed)
            known = {j: data.inward(centers) for j, centers in near.items()}
            new = data.finish(search_one(sample, k, known, EFFORTS[effort], seed), sample)
            best = min(old, new, key=lambda c: c.wcss)
            solved = {**clusterings, k: replace(best, starts=old.starts + new.starts)}
            return {j: data.not_above(solved, j) for j in sorted(solved)}


@dataclass(frozen=True)
class _Data:
    """The given rows, and the distinct ones centred and scaled by a power of two for the search."""

    Z: Floats
    points: Floats
    rows: WeightedRows
    mean: Floats
    scale: float

    @classmethod
    def of(cls, table: Table) -> _Data:
        points, w = table.merged.X, table.merged.weights
        mean = np.average(points, axis=0, weights=w)
        X = points - mean
        # A power of two does not change any digit and keeps squares from overflow and underflow.
        scale = float(np.exp2(-np.frexp(np.abs(X).max(initial=0.0))[1]))
        return cls(table.Z, points, WeightedRows(X * scale, w), mean, scale)

    def inward(self, centers: Floats) -> Floats:
        """Return centres in the coordinates of the search."""
        return (centers - self.mean) * self.scale

    def finish(self, found: Found, sample: WeightedRows) -> Clustering:
        """Return the clustering of all rows from a search on all rows or on a sample."""
        if sample.m == self.rows.m:
            centers = found.best.centers
        else:
            centers = polish(self.rows, [solution.centers for solution in found.pool])
        # Starts on a sample keep their ratio to the best WCSS of the sample.
        ratio = np.array(found.starts) / (found.best.wcss or 1.0)
        return self.clustering(centers, tuple(ratio.tolist()))

    def clustering(self, centers: Floats, ratio: tuple[float, ...]) -> Clustering:
        """Return the clustering around the full-precision means of these centres' clusters."""
        outward = centers / self.scale + self.mean
        labels, _ = nearest_center(self.points, outward)
        exact = cluster_means(self.points, self.rows.w, labels, outward)
        exact = exact[np.lexsort(exact.T[::-1])]
        _, d2 = nearest_center(self.points, exact)
        wcss = float(d2 @ self.rows.w)
        starts = tuple(wcss * r for r in ratio)
        return Clustering(len(exact), exact, wcss, starts, partial(labels_of, self.Z))

    def not_above(self, solved: dict[int, Clustering], k: int) -> Clustering:
        """Return k's clustering, after rebuilding it in ``solved`` if a smaller k has less WCSS."""
        below = min((solved[j] for j in solved if j < k), key=lambda c: c.wcss, default=None)
        if below is None or solved[k].wcss <= below.wcss:
            return solved[k]
        centers = self.inward(below.centers)
        while len(centers) < k:
            near = self.rows.distances(centers[None])[:, 0].min(axis=0)
            far = int((near * self.rows.w).argmax())
            centers = polish(self.rows, [np.vstack([centers, self.rows.X[far]])])
        grown = self.clustering(centers, ())
        # Any excess is rounding: giving a row its own centre cannot raise the WCSS.
        wcss = min(grown.wcss, below.wcss)
        solved[k] = replace(grown, wcss=wcss, starts=solved[k].starts)
        return solved[k]


def _samples(table: Table, k_max: int, seed: int) -> AbstractContextManager[Samples]:
    return Samples.of(*table.drawn(seed), k_max=k_max, seed=seed, processes=table.processes)


def polish(rows: WeightedRows, starts: list[Floats]) -> Floats:
    """Run starts, each (k, d), to local optima on all rows; return the centres of the best."""
    if rows.m <= EXACT_PATH.hartigan_rows:
        few = np.stack(starts[: EXACT_PATH.polished])
        return min(local_search(rows, few), key=lambda solution: solution.wcss).centers
    # A sample ranks close rivals by chance; a few steps on all rows rank them correctly.
    heats = [_lloyd(rows, centers, max_iter=EXACT_PATH.heat) for centers in starts]
    leader = min(heats, key=lambda fit: float(fit.inertia_))
    centers: Floats = _lloyd(rows, leader.cluster_centers_, max_iter=300).cluster_centers_
    return centers


def _lloyd(rows: WeightedRows, centers: Floats, max_iter: int) -> KMeans:
    kmeans = KMeans(len(centers), init=centers, n_init=1, max_iter=max_iter, tol=1e-7)
    return kmeans.fit(rows.X, sample_weight=rows.w)


def cluster_means(points: Floats, w: Floats, labels: NDArray[np.int32], fallback: Floats) -> Floats:
    """Return weighted means relative to a row of each cluster: equal rows give exactly that row."""
    means = fallback.copy()
    for j in range(len(means)):
        own = np.flatnonzero(labels == j)
        if len(own):
            origin = points[own[0]]
            means[j] = origin + w[own] @ (points[own] - origin) / w[own].sum()
    return means


def _search_rows(rows: WeightedRows, k_max: int, seed: int) -> WeightedRows:
    """Return all rows, or a coreset if they are many, with distances that are precise enough."""
    size = max(EXACT_PATH.searched_rows, 20 * k_max)
    rows = rows.drawn(size, np.random.default_rng([seed, rows.m]))
    rng = np.random.default_rng([seed, k_max])
    careful = WeightedRows(rows.X, rows.w, by_difference=True)
    seeds = plus_plus(careful, min(k_max, rows.m), 1, rng)
    left = float(careful.squares_to(seeds)[0] @ rows.w)
    total = float(rows.w @ rows.squares)
    return careful if total * np.finfo(float).eps > 1e-10 * left else rows
