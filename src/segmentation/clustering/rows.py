"""The rows given to an engine: check them, find equal rows, choose the path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from segmentation.clustering.assignment import Floats
from segmentation.clustering.base import Clustering, Polish
from segmentation.clustering.coresets import Equals, Rows, find_equals, lots
from segmentation.clustering.large_data import Solved
from segmentation.clustering.search_settings import EXACT_PATH, SAMPLES
from segmentation.errors import ConfigError, DataError
from segmentation.runtime import threads


@dataclass(frozen=True)
class Table:
    """The given rows and the path they take.

    Attributes
    ----------
    rows : Rows
        All rows except those of weight zero.
    equals : Equals or None
        None if there are few rows.
    large : bool
        Whether the large-data path is taken.
    processes : int
        Number of processes for the passes over many rows. It respects the caller's limits, so that
        a worker of a parallel sweep uses only its share of the cores.
    Z : ndarray of shape (n, d)
        The rows to label, as given.
    """

    rows: Rows
    equals: Equals | None
    large: bool
    processes: int
    Z: Floats

    @classmethod
    def of(
        cls, Z: NDArray[np.float64], sample_weight: NDArray[np.float64] | None, path: str
    ) -> Table:
        """Check the rows; arguments as for `segmentation.clustering.in_memory.InMemoryEngine`."""
        # The large-data path keeps single precision: it sums the rows in double precision.
        is_single = Z.dtype == np.float32 and len(Z) > EXACT_PATH.sampled_rows
        Z = np.ascontiguousarray(Z, dtype=np.float32 if is_single else np.float64)
        w = None if sample_weight is None else np.asarray(sample_weight, float)
        check_rows(Z, w)
        X = Z
        if w is not None and not w.all():
            X, w = Z[w > 0], w[w > 0]
        if path != "sampled" and len(X) <= EXACT_PATH.sampled_rows:
            return cls(Rows(X, w), None, False, 1, Z)
        equals = find_equals(X)
        many = equals.distinct > (EXACT_PATH.sampled_rows if path == "auto" else SAMPLES.search)
        largest = max(-float(X.min()), float(X.max()))
        ordinary = EXACT_PATH.smallest < largest < EXACT_PATH.largest
        large = many and ordinary and path != "exact"
        if not large:
            X = X.astype(np.float64, copy=False)
        return cls(Rows(X, w), equals, large, threads.allowed(), Z)

    @cached_property
    def distinct(self) -> int:
        """Number of distinct rows."""
        return len(self.merged.X) if self.equals is None else self.equals.distinct

    @cached_property
    def merged(self) -> Rows:
        """Distinct rows in lexicographic order, with their weights summed."""
        if self.equals is None:
            return Rows(*distinct_rows(self.rows.X, self.rows.weights))
        merged = self.equals.merged(self.rows)
        return Rows(*distinct_rows(merged.X, merged.weights))

    def drawn(self, seed: int) -> tuple[Rows, Floats]:
        """Return the rows for the large-data path and a uniform number for each.

        Equal rows are merged if that saves time.
        """
        assert self.equals is not None
        if self.distinct <= EXACT_PATH.merged_share * len(self.rows.X):
            return self.equals.merged(self.rows), lots(self.equals.kinds, seed)
        return self.rows, lots(self.equals.copies, seed)


def clustering_of(solved: Solved, Z: Floats) -> Clustering:
    """Return a solution of the large-data path as a `Clustering`; Z are the rows to label."""
    settled = solved.settled
    found = Clustering(
        k=len(settled.centers),
        centers=settled.centers,
        wcss=settled.wcss,
        starts=solved.starts,
        assign=partial(labels_of, Z),
        totals=settled.totals,
        polish=Polish(settled.passes, settled.gain, solved.sample_se),
    )
    return found.reordered(np.lexsort(settled.centers.T[::-1]))


def distinct_rows(Z: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the distinct rows in lexicographic order (m, d) and their summed weights."""
    # Adding zero turns -0.0 into 0.0; the weight as last key makes the sums independent of order.
    Z = Z + 0.0
    order = np.lexsort([weights, *Z.T[::-1]])
    Z = Z[order]
    first = np.flatnonzero(np.r_[True, (Z[1:] != Z[:-1]).any(axis=1)])
    return Z[first], np.add.reduceat(weights[order], first)


def nearest_center(Z: Floats, centers: Floats) -> tuple[NDArray[np.int32], Floats]:
    """Return each row's nearest centre (index) and squared distance, both of shape (n,)."""
    labels = np.empty(len(Z), dtype=np.int32)
    d2 = np.empty(len(Z))
    for at in range(0, len(Z), EXACT_PATH.label_rows):
        D = cdist(Z[at : at + EXACT_PATH.label_rows], centers, "sqeuclidean")
        labels[at : at + EXACT_PATH.label_rows] = D.argmin(axis=1)
        d2[at : at + EXACT_PATH.label_rows] = D.min(axis=1)
    return labels, d2


def labels_of(
    Z: Floats, centers: Floats, rows: NDArray[np.intp] | None = None
) -> NDArray[np.int32]:
    """Return the index of the nearest centre of each row, or only of the rows at `rows`."""
    return nearest_center(Z if rows is None else Z[rows], centers)[0]


def check_ks(ks: list[int], distinct: int) -> None:
    """Refuse an ascending range of k that needs more distinct rows than there are."""
    if not ks or ks[0] < 1:
        raise ConfigError(f"the k range must contain numbers of at least 1, got {ks}")
    if ks[-1] > distinct:
        raise ConfigError(
            f"k={ks[-1]} is more clusters than there are distinct rows ({distinct}); "
            f"set k.max to {distinct} or less, or add features that distinguish the rows"
        )


def check_seed(seed: int) -> None:
    """Refuse a negative seed, which NumPy's generators do not accept."""
    if seed < 0:
        raise ConfigError(f"seed must be 0 or greater, got {seed}")


def check_rows(Z: Floats, weights: Floats | None = None) -> None:
    """Refuse rows or weights that K-Means cannot be fitted to."""
    if Z.ndim != 2 or 0 in Z.shape:
        raise DataError(f"clustering needs a table with rows and columns, got shape {Z.shape}")
    if not np.isfinite(Z).all():
        row, column = np.argwhere(~np.isfinite(Z))[0]
        raise DataError(
            f"row {row}, column {column} of the scaled data is {Z[row, column]}; "
            "clustering needs finite numbers: fill or drop missing values first"
        )
    if weights is None:
        return
    if weights.shape != (len(Z),) or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(
            f"sample_weight must contain {len(Z)} finite numbers, one per row, each at least 0"
        )
    if not weights.any():
        raise DataError("sample_weight is 0 everywhere: at least one row needs a positive weight")
