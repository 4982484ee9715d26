"""How far new customers are from those a model was trained on; counts only, never customers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from segmentation.runtime.blocks import parts, standard_deviation

DECILES = np.arange(1, 10) / 10


def reference(
    frame: pd.DataFrame,
    categories: Mapping[str, Sequence[str | float]],
    labels: NDArray[np.int32],
    distances: NDArray[np.float64],
    k: int,
) -> dict[str, Any]:
    """What the training customers looked like, as counts and shares that fit into JSON.

    Parameters
    ----------
    frame : DataFrame of n rows
        The clustered columns.
    categories : mapping
        The categories of each categorical column.
    labels : ndarray of shape (n,)
        Cluster index of each customer, 0..k-1.
    distances : ndarray of shape (n,)
        Of each customer to the own centre.
    k : int

    Returns
    -------
    dict
        ``n``; ``features``: for each its ``name``, ``shares`` of the bins, and what bounds them:
        ``edges`` (deciles; equal ones once) of a number, the ``categories`` otherwise; ``shares``,
        ``mean_distances`` of the k clusters; ``mean_distance`` and its standard deviation
        ``sd_distance``.
    """
    features: list[dict[str, Any]] = []
    for name in frame.columns:
        if name in categories:
            feature: dict[str, Any] = {"name": name, "categories": list(categories[name])}
        else:
            values = frame[name].to_numpy(dtype=np.float64)
            # Values that occur: halfway between two, 0 and 1 would have a bin of their own.
            edges = np.unique(np.quantile(values, DECILES, method="inverted_cdf"))
            feature = {"name": name, "edges": edges.tolist()}
        counts = bin_counts(feature, frame[name])
        features.append({**feature, "shares": (counts / len(frame)).tolist()})
    sizes, sums = np.zeros(k), np.zeros(k)
    for part in parts(len(labels)):
        sizes += np.bincount(labels[part], minlength=k)
        sums += np.bincount(labels[part], distances[part], k)
    mean = float(sums.sum() / len(labels))
    return {
        "n": len(frame),
        "features": features,
        "shares": (sizes / len(frame)).tolist(),
        "mean_distances": (sums / np.maximum(sizes, 1)).tolist(),
        "mean_distance": mean,
        "sd_distance": standard_deviation(distances, mean),
    }


def bin_counts(feature: Mapping[str, Any], values: pd.Series) -> NDArray[np.int64]:
    """Customers in each bin of a feature of `reference`; missing values are in none.

    Bin i of a number holds what is above edge i-1 and not above edge i; the last bin of a category
    holds what training did not see.
    """
    if "edges" in feature:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        # Above all edges, and so in a bin after the last: what is missing.
        edges = np.append(np.asarray(feature["edges"], np.float64), np.inf)
        counts = np.zeros(len(edges) + 1, np.int64)
        for part in parts(len(numbers)):
            index = np.searchsorted(edges, numbers[part], side="left")
            counts += np.bincount(index, minlength=len(counts))
        return counts[:-1]
    present = values[values.notna()]
    index = pd.Index(feature["categories"]).get_indexer(pd.Index(present))
    index[index < 0] = len(feature["categories"])
    return np.bincount(index, minlength=len(feature["categories"]) + 1)


def psi(then: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """Population stability index of counts in the same bins: sum (p - q) ln(p / q).

    p and q are the shares now and then, with half a customer added to each bin so that an empty
    one is no infinity (Siddiqi 2006, Credit Risk Scorecards, ch. 12; half counts: Jeffreys).
    """
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (now, then))
    return float(np.sum((p - q) * np.log(p / q)))


def psi_noise(bins: int, n_then: float, n_now: float, confidence: float) -> float:
    """The PSI that chance alone stays below with this probability when nothing has changed.

    Without a change PSI is about (1/n_then + 1/n_now) times a chi-squared number of bins - 1
    degrees of freedom (Yurdakul and Naranjo 2020, J. Risk Model Validation 14(4), eq. 8).
    """
    if bins < 2 or min(n_then, n_now) <= 0:
        return math.inf
    return float(stats.chi2.ppf(confidence, bins - 1) * (1 / n_then + 1 / n_now))


def beyond_noise(then: NDArray[np.float64], now: NDArray[np.float64], confidence: float) -> float:
    """The share beyond the training 99th percentiles that chance alone stays below.

    Of a segment of m training customers the percentile is an estimate itself: what lies beyond it
    is Beta distributed with mean 1 - (0.99 (m - 1) + 1) / (m + 1) (David and Nagaraja 2003, Order
    Statistics, sec. 2.5), which is 6 % rather than 1 % at m = 20. The number of new customers
    beyond it is then beta-binomial; the segments are taken together by mean and variance.

    Parameters
    ----------
    then, now : ndarray of shape (k,)
        Customers in each segment.
    confidence : float
    """
    n = now.sum()
    if n <= 0:
        return 1.0
    expected = 1 - (0.99 * (then - 1) + 1) / (then + 1)
    mean = float(now @ expected / n)
    variance = float(np.square(now / n) @ (expected * (1 - expected) / (then + 2)))
    total = mean * (1 - mean) / variance - 1
    most = stats.betabinom.ppf(confidence, int(n), mean * total, (1 - mean) * total)
    return float(most / n)


def wilson(count: float, n: float, confidence: float) -> tuple[float, float]:
    """Interval of a share, which also holds near 0 and 1 (Wilson 1927, JASA 22, eq. 7)."""
    if n <= 0:
        return 0.0, 1.0
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share = count / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At 0 and n rounding may put the end past the share itself.
    low = 0.0 if count == 0 else min(middle - half, share)
    high = 1.0 if count == n else max(middle + half, share)
    return low, high
