"""The protocol of engines and their result: one `Clustering` for each k."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.assignment import Totals


@dataclass(frozen=True)
class Polish:
    """How a solution found on a sample was settled on all rows; a check of the large-data path.

    Attributes
    ----------
    passes : int
        Passes over all rows.
    gain : float
        Share of the WCSS gained by the last pass.
    sample_se : float
        Relative standard error of the WCSS estimated from the sample.
    """

    passes: int
    gain: float
    sample_se: float


@dataclass(frozen=True)
class Clustering:
    """K-Means for one k, in the scaled space.

    Attributes
    ----------
    k : int
    centers : ndarray of shape (k, d), float64
        In lexicographic order.
    wcss : float
        Within-cluster sum of squares over all rows, weighted (scikit-learn's ``inertia_``).
    starts : tuple of float
        WCSS that each independent start reached; their spread shows how hard the problem is.
    assign : callable
        Takes centres, and optionally the positions of some rows; returns the labels of the rows
        held here.
    totals : Totals or None
        Sums of a pass over all rows with these centres; None if labels are cheap to compute.
    polish : Polish or None
        None unless the solution was found on a sample.
    silhouette_squared : float or None
        Mean silhouette of squared distances over all rows; None if the engine did not measure it.
    """

    k: int
    centers: NDArray[np.float64]
    wcss: float
    starts: tuple[float, ...]
    assign: Callable[..., NDArray[np.int32]] = field(repr=False, compare=False)
    totals: Totals | None = field(default=None, repr=False, compare=False)
    polish: Polish | None = None
    silhouette_squared: float | None = None

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """Index of the nearest centre of each row, shape (n,); computed on first access."""
        return self.assign(self.centers)

    def labels_at(self, rows: NDArray[np.intp]) -> NDArray[np.int32]:
        """Return the labels of some rows only, such as a sample of millions."""
        return self.labels[rows] if self.totals is None else self.assign(self.centers, rows)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of rows in each cluster, over all rows, shape (k,)."""
        if self.totals is not None:
            return np.rint(self.totals.weights).astype(np.int64)
        return np.bincount(self.labels, minlength=self.k)

    def reordered(self, order: NDArray[np.intp]) -> Clustering:
        """Return the same clustering with its centres in another order."""
        totals = None if self.totals is None else self.totals.reordered(order)
        return replace(self, centers=self.centers[order], totals=totals)

    @property
    def starts_at_best(self) -> int:
        """How many independent starts came within 1e-6 (relative) of the best WCSS."""
        return sum(start <= self.wcss * (1 + 1e-6) for start in self.starts)

    @property
    def is_plain(self) -> bool:
        """Whether half of the starts reached the best WCSS on all rows: more search is useless.

        Of 1,748 such WCSS of known sets and generated mixtures, none was above the best known
        value. Of 3,026 WCSS reached by at most one start in ten, 134 were above it.
        """
        return self.polish is None and 2 * self.starts_at_best >= len(self.starts)


class Engine(Protocol):
    """Fits K-Means for a whole range of k. Its line in `ENGINES` creates it from its options.

    `tests/clustering/contract.py` is the test suite that every engine must pass.
    """

    @property
    def options(self) -> Any:
        """Its options: an instance of the frozen dataclass named by its line in the table."""
        ...

    @property
    def improves_chosen(self) -> bool:
        """Whether to search the chosen k once more, and harder, with `improve`."""
        ...

    def with_options(self, **changes: Any) -> Engine:
        """Return the same engine with some options changed.

        Raises
        ------
        ConfigError
            There is no such option, or its value is not allowed.
        """
        ...

    def fit_k_range(self, rows: Any, ks: Iterable[int], *, seed: int) -> dict[int, Clustering]:
        """Fit K-Means for every k of a range together.

        Parameters
        ----------
        rows : ndarray of shape (n, d), or the engine's own type
            Finite rows in the scaled space.
        ks : iterable of int
            Numbers of clusters, each at least 1.
        seed : int
            Non-negative. The same rows, range, options and seed give the same bits.

        Returns
        -------
        dict of int to Clustering
            Keys ascending. WCSS never rises with k.

        Raises
        ------
        ConfigError
            A k is below 1 or above the number of distinct rows, or the seed is negative.
        DataError
            The rows cannot be used.
        """
        ...

    def improve(
        self, rows: Any, clusterings: dict[int, Clustering], k: int, *, seed: int
    ) -> dict[int, Clustering]:
        """Search one k harder, starting from its known solution and those of its neighbours.

        Parameters
        ----------
        rows, seed
            As given to `fit_k_range`.
        clusterings : dict of int to Clustering
            From `fit_k_range` on the same rows; not modified.
        k : int
            One of its keys.

        Returns
        -------
        dict of int to Clustering
            The same keys. No WCSS is higher than before, and WCSS still never rises with k.
        """
        ...
