"""Sums of squares per column, within segments and in total, computed part by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.runtime.blocks import parts

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Scatter:
    """Means and sums of squares of k segments in d columns.

    Attributes
    ----------
    sizes : ndarray of shape (k,), int
    means : ndarray of shape (k, d)
    center : ndarray of shape (d,)
        The mean of all customers.
    within, total : ndarray of shape (d,)
        Sums of squares about each segment's own mean, and about the mean of all customers.
    """

    sizes: NDArray[np.intp]
    means: Array
    center: Array
    within: Array
    total: Array


def scatter(Z: Array, labels: NDArray[np.int32], k: int) -> Scatter:
    """Compute the means and sums of squares of k segments.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    labels : ndarray of shape (n,)
        In 0..k-1; each value occurs at least once.
    k : int
    """
    sizes, sums = np.bincount(labels, minlength=k), np.zeros((k, Z.shape[1]))
    for part in parts(len(Z)):
        own = labels[part].astype(np.intp)
        for column, total in zip(Z[part].T, sums.T, strict=True):
            total += np.bincount(own, column, k)
    means, center = sums / sizes[:, None], sums.sum(axis=0) / len(Z)
    within, about = np.zeros(Z.shape[1]), np.zeros(Z.shape[1])
    for part in parts(len(Z)):
        within += ((Z[part] - means[labels[part]]) ** 2).sum(axis=0)
        about += ((Z[part] - center) ** 2).sum(axis=0)
    return Scatter(sizes, means, center, within, about)
