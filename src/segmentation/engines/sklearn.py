"""Baseline engine."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from segmentation.engines.base import Clustering


def fit_k_range(
    Z: NDArray[np.float64],
    ks: Iterable[int],
    *,
    seed: int,
    effort: str = "default",
    sample_weight: NDArray[np.float64] | None = None,
) -> dict[int, Clustering]:
    """Fit."""
    out = {}
    for k in ks:
        km = KMeans(k, n_init=20, random_state=seed).fit(Z, sample_weight=sample_weight)
        out[k] = Clustering(
            k,
            km.cluster_centers_,
            float(km.inertia_),
            (float(km.inertia_),),
            lambda centers: pairwise_distances_argmin(Z, centers).astype(np.int32),
        )
    return out


def improve(
    Z: NDArray[np.float64],
    clusterings: dict[int, Clustering],
    k: int,
    *,
    seed: int,
    effort: str = "thorough",
    sample_weight: NDArray[np.float64] | None = None,
) -> dict[int, Clustering]:
    """Improve."""
    return clusterings
