"""What every engine returns: one `Clustering` for each k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


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
        WCSS that each independent start reached; their spread says how hard the problem is.
    """

    k: int
    centers: NDArray[np.float64]
    wcss: float
    starts: tuple[float, ...]
    assign: Callable[[NDArray[np.float64]], NDArray[np.int32]] = field(repr=False, compare=False)

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """Index of the nearest centre of each row, shape (n,); computed when first asked for."""
        return self.assign(self.centers)

    @property
    def starts_at_best(self) -> int:
        """How many independent starts came within 1e-6 (relative) of the best WCSS."""
        return sum(start <= self.wcss * (1 + 1e-6) for start in self.starts)
