"""Segments from clusters: ids by size, shares with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmentation.clustering.base import Clustering
from segmentation.profiling.exemplars import BORDERLINE
from segmentation.profiling.profiles import share_intervals


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes
    ----------
    id : int
        Rank by size; 0 is the largest.
    name : str
    size : int
        Number of customers.
    share : float
        Share of all customers.
    share_low, share_high : float
        95 % bootstrap interval of the share, with the centres fixed.
    silhouette : float or None
        Mean silhouette of its (sampled) customers; None at k=1.
    borderline : float or None
        Share of its customers that lie between two segments (silhouette below 0.1).
    """

    id: int
    name: str
    size: int
    share: float
    share_low: float
    share_high: float
    silhouette: float | None
    borderline: float | None


def order_by_size(clustering: Clustering) -> Clustering:
    """Return the clustering with its centres ordered by falling size, ties by the centres.

    A rerun, or the same customers in another order, then yields the same ids.
    """
    order = np.lexsort((*clustering.centers.T[::-1], -clustering.sizes))
    return clustering.reordered(order)


def describe(
    sizes: NDArray[np.int64], names: Sequence[str], silhouettes: pd.DataFrame, *, seed: int
) -> tuple[Segment, ...]:
    """Describe the segments by size, share and silhouette.

    Parameters
    ----------
    sizes : ndarray of shape (k,)
        Customers of each segment.
    names : sequence of str, length k
    silhouettes : DataFrame
        Columns ``segment`` and ``silhouette`` of the (sampled) customers.
    seed : int
        Seeds the bootstrap of the shares.
    """
    ends = share_intervals(sizes, seed=seed)
    by_segment = silhouettes["silhouette"].groupby(silhouettes["segment"])
    mean = by_segment.mean()
    between = by_segment.agg(lambda values: (values < BORDERLINE).mean())
    return tuple(
        Segment(
            id=index,
            name=name,
            size=int(sizes[index]),
            share=float(sizes[index] / sizes.sum()),
            share_low=float(ends[index, 0]),
            share_high=float(ends[index, 1]),
            silhouette=float(mean[index]) if index in mean.index else None,
            borderline=float(between[index]) if index in mean.index else None,
        )
        for index, name in enumerate(names)
    )
