"""Sums of squares by column, within segments and in all: of many customers a part at a time."""

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
        The mean of all.
    within, total : ndarray of shape (d,)
        Sums of squares about the own segment's mean, and about the mean of all.
    """

    sizes: NDArray[np.intp]
    means: Array
    center: Array
    within: Array
    total: Array


def scatter(Z: Array, labels: NDArray[np.int32], k: int) -> Scatter:
    """Add up the customers of each segment.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    labels : ndarray of shape (n,)
        In 0..k-1, each of them at least once.
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
