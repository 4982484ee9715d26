"""How far new customers are from the training customers; stores counts, never customers."""

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
    """Summarise the training customers as counts and shares that can be written as JSON.

    Parameters
    ----------
    frame : DataFrame of n rows
        The clustered columns.
    categories : mapping
        The categories of each categorical column.
    labels : ndarray of shape (n,)
        Cluster index of each customer, 0..k-1.
    distances : ndarray of shape (n,)
        Distance of each customer to its own centre.
    k : int

    Returns
    -------
    dict
        ``n``; ``features``, each with its ``name``, the ``shares`` of its bins and either the
        ``edges`` of the bins (deciles without duplicates, for a number) or the ``categories``;
        ``shares`` and ``mean_distances`` of the k clusters; ``mean_distance`` and ``sd_distance``,
        the mean and standard deviation of the distances.
    """
    features: list[dict[str, Any]] = []
    for name in frame.columns:
        if name in categories:
            feature: dict[str, Any] = {"name": name, "categories": list(categories[name])}
        else:
            values = frame[name].to_numpy(dtype=np.float64)
            # Edges are values that occur. Interpolated edges could put 0 and 1 into separate bins.
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
    """Count the customers in each bin of a feature of `reference`; missing values do not count.

    Bin i of a numeric feature holds values above edge i-1 and at most edge i. The last bin of a
    categorical feature holds the categories that did not occur in training.
    """
    if "edges" in feature:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        # Missing values sort above all edges, into an extra bin that is dropped below.
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
    """Compute the population stability index of counts in the same bins: sum (p - q) ln(p / q).

    p and q are the shares now and then. Half a customer is added to each bin so that an empty bin
    does not give infinity (Siddiqi 2006, Credit Risk Scorecards, ch. 12; half counts: Jeffreys).
    """
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (now, then))
    return float(np.sum((p - q) * np.log(p / q)))


def psi_noise(bins: int, n_then: float, n_now: float, confidence: float) -> float:
    """Return the PSI that is not exceeded with this probability if nothing has changed.

    Without a change, PSI is approximately (1/n_then + 1/n_now) times a chi-squared variable with
    bins - 1 degrees of freedom (Yurdakul and Naranjo 2020, J. Risk Model Validation 14(4), eq. 8).
    """
    if bins < 2 or min(n_then, n_now) <= 0:
        return math.inf
    return float(stats.chi2.ppf(confidence, bins - 1) * (1 / n_then + 1 / n_now))


def beyond_noise(then: NDArray[np.float64], now: NDArray[np.float64], confidence: float) -> float:
    """Return the share beyond the training 99th percentiles that chance alone does not exceed.

    In a segment of m training customers the percentile is itself an estimate. The share beyond it
    is Beta distributed with mean 1 - (0.99 (m - 1) + 1) / (m + 1) (David and Nagaraja 2003, Order
    Statistics, sec. 2.5), which is 6 % rather than 1 % for m = 20. The number of new customers
    beyond it is therefore beta-binomial. The segments are combined by mean and variance.

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
    """Return the Wilson interval of a share, valid near 0 and 1 too (1927, JASA 22, eq. 7)."""
    if n <= 0:
        return 0.0, 1.0
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share = count / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # For a count of 0 or n, rounding may put the bound past the share itself.
    low = 0.0 if count == 0 else min(middle - half, share)
    high = 1.0 if count == n else max(middle + half, share)
    return low, high
