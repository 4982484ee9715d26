"""Silhouette of squared distances, exact over all rows in one pass.

For squared Euclidean distance the mean distance of a row x to the members of a cluster is
``|x - m|² + S / n`` (m its mean, S its sum of squares, n its size), so no pair of rows is looked
at. It is another number than the silhouette of distances, and mostly a higher one: never compare
the two. Imports NumPy alone, so that it can be sent to executors as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.engines.passes import Floats, Key, Totals

CHUNK = 8192


def squared_silhouettes(
    X: NDArray[Any], centers: Mapping[Key, Floats], known: Mapping[Key, Totals]
) -> dict[Key, float]:
    """Sum over the rows of each one's silhouette of squared distances, for each set of centres.

    ``(b - a) / max(a, b)`` as in Rousseeuw (1987), eq. 2, with mean squared distances: a to the
    other members of the own cluster, b to the nearest other cluster; 0 in a cluster of one.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    centers : mapping to ndarrays of shape (k, d), k >= 2
        They say which cluster a row is in.
    known : mapping to Totals
        Of *all* rows, about these centres.
    """
    parts = {key: _parts(centers[key], known[key]) for key in centers}
    sums = dict.fromkeys(centers, 0.0)
    for start in range(0, len(X), CHUNK):
        x = np.asarray(X[start : start + CHUNK], np.float64)
        own = np.arange(len(x))
        squares = np.einsum("nd,nd->n", x, x)
        for key, (c, half, means, offset, sizes) in parts.items():
            labels = (half - x @ c.T).argmin(axis=1)
            mean_distance = np.maximum(offset + squares[:, None] - 2.0 * (x @ means.T), 0.0)
            size = sizes[labels]
            a = mean_distance[own, labels] * size / np.maximum(size - 1, 1)
            mean_distance[own, labels] = np.inf
            b = mean_distance.min(axis=1)
            scale = np.maximum(a, b)
            counts = (size > 1) & (scale > 0) & np.isfinite(b)
            sums[key] += float(((b - a)[counts] / scale[counts]).sum())
    return sums


def _parts(centers: Floats, known: Totals) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Centres, half their squares, means, what is added to a row's distance, and sizes."""
    sizes = known.weights
    means = known.means(centers)
    # The sum of squares about the mean, from that about a centre near it.
    within = known.squares - sizes * ((centers - means) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(sizes > 0, np.maximum(within, 0.0) / sizes, np.inf)
    offset = (means**2).sum(axis=1) + spread
    return centers, (centers**2).sum(axis=1) / 2, means, offset, sizes
