"""Silhouette of squared distances, exact over all rows in one pass.

For squared Euclidean distance the mean distance of a row x to the members of a cluster is
``|x - m|² + S / n`` (m its mean, S its sum of squares, n its size), so no pairwise distances are
needed. It differs from the silhouette of distances and is usually higher: never compare the two.
The module imports only NumPy, so it can be sent to executors as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.assignment import (
    CHUNK,
    Floats,
    Key,
    Totals,
    chunks,
    own_centers,
    score_matrix,
)


def squared_silhouettes(
    X: NDArray[Any], centers: Mapping[Key, Floats], known: Mapping[Key, Totals]
) -> dict[Key, float]:
    """Sum the silhouettes of squared distances over the rows, for each set of centres.

    ``(b - a) / max(a, b)`` as in Rousseeuw (1987), eq. 2, with mean squared distances: a to the
    other members of the own cluster, b to the nearest other cluster; 0 in a cluster of one.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    centers : mapping to ndarrays of shape (k, d), k >= 2
        They define the cluster of each row.
    known : mapping to Totals
        Totals of *all* rows for these centres.
    """
    parts = {key: _Parts.of(centers[key], known[key], X.dtype) for key in centers}
    d = X.shape[1]
    largest = max(len(c) for c in centers.values())
    distances = np.empty((largest, CHUNK), X.dtype)
    scores = np.empty((largest, CHUNK), X.dtype)
    members = np.empty((largest, CHUNK), bool)
    sums = dict.fromkeys(centers, 0.0)
    # Columns [x, 1, |x|²], so that one product gives the mean distances to all clusters.
    for x, _ in chunks(X, None, slice(0, len(X)), np.zeros(d), X.dtype):
        m = x.shape[1]
        for key, own in parts.items():
            k = len(own.sizes)
            score = np.matmul(own.nearest, x[: d + 1], out=scores[:k, :m])
            mine, _ = own_centers(score, members[:k, :m])
            mean = np.matmul(own.mean_distance, x, out=distances[:k, :m])
            # For the own cluster, leave out the row itself.
            np.multiply(mean, mine, out=score)
            a = np.maximum(own.others @ score, 0.0)
            np.copyto(mean, np.inf, where=mine)
            b = np.maximum(mean.min(axis=0), 0.0)
            scale = np.maximum(a, b)
            counts = (scale > 0) & np.isfinite(b) & (own.several @ mine)
            sums[key] += float(((b - a)[counts] / scale[counts]).sum(dtype=np.float64))
    return sums


@dataclass(frozen=True)
class _Parts:
    """The matrices and vectors for one set of centres.

    Attributes
    ----------
    nearest : ndarray of shape (k, d + 1)
        Multiplied by [x, 1], smallest for the centre nearest to x.
    mean_distance : ndarray of shape (k, d + 2)
        Multiplied by [x, 1, |x|²], the mean squared distance to each cluster's members.
    others : ndarray of shape (k,)
        n / (n - 1).
    several : ndarray of shape (k,), bool
        Clusters of two or more.
    sizes : ndarray of shape (k,)
        Clusters without a row are left out.
    """

    nearest: NDArray[Any]
    mean_distance: NDArray[Any]
    others: NDArray[Any]
    several: NDArray[np.bool_]
    sizes: Floats

    @classmethod
    def of(cls, centers: Floats, known: Totals, dtype: np.dtype[Any]) -> _Parts:
        full = known.weights > 0
        sizes, means, centers = known.weights[full], known.means(centers)[full], centers[full]
        # Sum of squares about the mean, computed from the one about a centre near it.
        within = known.squares[full] - sizes * ((centers - means) ** 2).sum(axis=1)
        constant = (means**2).sum(axis=1) + np.maximum(within, 0.0) / sizes
        ones = np.ones(len(sizes))
        nearest = score_matrix(centers)
        mean_distance = np.column_stack([-2.0 * means, constant, ones])
        others = sizes / np.maximum(sizes - 1, 1)
        return cls(
            nearest.astype(dtype),
            mean_distance.astype(dtype),
            others.astype(dtype),
            sizes > 1,
            sizes,
        )
