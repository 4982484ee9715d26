"""Quality numbers of every fitted k. Adding one is a function and a line in `METRICS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.metrics import davies_bouldin_score

from segmentation.engines.base import Clustering

#: Above this many rows the silhouette is measured on a seeded sample of this size (cost is n²).
SILHOUETTE_ROWS = 10_000
#: Rows of the distance matrix held in memory at a time: 512 x 10,000 float64 is 40 MB.
CHUNK = 512


@dataclass(frozen=True)
class Silhouettes:
    """Silhouette of each (sampled) customer for every k >= 2.

    Attributes
    ----------
    rows : ndarray of shape (m,), int
        Positions of the customers measured; all of them up to `SILHOUETTE_ROWS`.
    values : dict of int to ndarray of shape (m,)
        Per k; absent for k=1, where a silhouette is not defined.
    sampled : bool
        Whether `rows` is a sample of the customers.
    """

    rows: NDArray[np.intp]
    values: Mapping[int, NDArray[np.float64]]
    sampled: bool


def silhouettes(
    Z: NDArray[np.float64], clusterings: Mapping[int, Clustering], *, seed: int
) -> Silhouettes:
    """Silhouettes for all k from one pass over the pairwise distances.

    ``s(i) = (b - a) / max(a, b)`` with a the mean distance to the own cluster's other members and
    b the smallest mean distance to another cluster; 0 in a cluster of one (Rousseeuw 1987,
    J. Comput. Appl. Math. 20, eq. 2; the same conventions as scikit-learn).

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    seed : int
        Seeds the sample taken above `SILHOUETTE_ROWS` rows.
    """
    n = len(Z)
    sampled = n > SILHOUETTE_ROWS
    rows = (
        np.sort(np.random.default_rng(seed).choice(n, SILHOUETTE_ROWS, replace=False))
        if sampled
        else np.arange(n)
    )
    Z = Z[rows]
    ks = [k for k in clusterings if k >= 2]
    labels = {k: clusterings[k].labels[rows] for k in ks}
    membership = {k: np.eye(k)[labels[k]] for k in ks}
    counts = {k: membership[k].sum(axis=0) for k in ks}
    values = {k: np.zeros(len(Z)) for k in ks}
    for start in range(0, len(Z), CHUNK):
        part = slice(start, start + CHUNK)
        distances = cdist(Z[part], Z)
        for k in ks:
            values[k][part] = _silhouette(distances @ membership[k], labels[k][part], counts[k])
    return Silhouettes(rows=rows, values=values, sampled=sampled)


def _silhouette(
    sums: NDArray[np.float64], labels: NDArray[np.int32], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Silhouettes from the sums of distances to every cluster, shape (rows, k)."""
    own = np.arange(len(labels)), labels
    a = sums[own] / np.maximum(counts[labels] - 1, 1)
    # A cluster the sample missed has no members to be near to.
    others = sums / np.where(counts > 0, counts, np.nan)
    others[own] = np.nan
    b = np.nanmin(np.where(np.isnan(others), np.inf, others), axis=1)
    scale = np.maximum(a, b)
    lonely = (counts[labels] < 2) | (scale == 0) | ~np.isfinite(b)
    return np.where(lonely, 0.0, (b - a) / np.where(lonely, 1.0, scale))


@dataclass(frozen=True)
class Fit:
    """What a metric of one k may look at: data, clustering, sizes (k,), total sum of squares.

    Sizes and total are of all rows; `Z` may be a sample of them where the clustering has totals.
    """

    Z: NDArray[np.float64]
    clustering: Clustering
    sizes: NDArray[np.intp]
    total: float
    silhouettes: NDArray[np.float64] | None
    sampled: bool

    @property
    def n(self) -> int:
        """Number of all rows."""
        return int(self.sizes.sum())


def wcss(fit: Fit) -> float:
    """Within-cluster sum of squares."""
    return fit.clustering.wcss


def wcss_worst_start(fit: Fit) -> float | None:
    """WCSS of the worst independent start: with `wcss`, the band a careless fit falls into."""
    return max(fit.clustering.starts) if fit.clustering.starts else None


def starts_at_best(fit: Fit) -> float:
    """Independent starts that reached the best WCSS: many says the optimum is easy to find."""
    return float(fit.clustering.starts_at_best)


def explained_variance(fit: Fit) -> float | None:
    """Share of the total sum of squares between the clusters, ``1 - WCSS(k) / WCSS(1)``."""
    return None if fit.total == 0 else 1 - fit.clustering.wcss / fit.total


def silhouette(fit: Fit) -> float | None:
    """Mean silhouette of the (sampled) customers."""
    return None if fit.silhouettes is None else float(fit.silhouettes.mean())


def silhouette_se(fit: Fit) -> float | None:
    """Standard error of the mean silhouette; only where it was measured on a sample."""
    if fit.silhouettes is None or not fit.sampled:
        return None
    return float(fit.silhouettes.std(ddof=1) / np.sqrt(len(fit.silhouettes)))


def silhouette_squared(fit: Fit) -> float | None:
    """Mean silhouette of squared distances over all rows: not to be compared with `silhouette`."""
    return fit.clustering.silhouette_squared


def calinski_harabasz(fit: Fit) -> float | None:
    """Between over within variance, each over its degrees of freedom (Calinski, Harabasz 1974)."""
    n, k = fit.n, fit.clustering.k
    if not 2 <= k < n or fit.clustering.wcss <= 0:
        return None
    return (fit.total - fit.clustering.wcss) / (k - 1) / (fit.clustering.wcss / (n - k))


def davies_bouldin(fit: Fit) -> float | None:
    """Mean of each cluster's worst within-to-between ratio (Davies, Bouldin 1979); low is good."""
    if not 2 <= fit.clustering.k < fit.n:
        return None
    totals = fit.clustering.totals
    if totals is not None:
        spread = totals.distances / np.maximum(totals.weights, 1)
        apart = cdist(fit.clustering.centers, fit.clustering.centers)
        np.fill_diagonal(apart, np.inf)
        return float(((spread[:, None] + spread) / apart).max(axis=1).mean())
    return float(davies_bouldin_score(fit.Z, fit.clustering.labels))


def smallest_share(fit: Fit) -> float:
    """Share of all customers in the smallest cluster."""
    return float(fit.sizes.min() / fit.n)


def largest_share(fit: Fit) -> float:
    """Share of all customers in the largest cluster."""
    return float(fit.sizes.max() / fit.n)


METRICS: dict[str, Callable[[Fit], float | None]] = {
    "wcss": wcss,
    "explained_variance": explained_variance,
    "silhouette": silhouette,
    "silhouette_se": silhouette_se,
    "silhouette_squared": silhouette_squared,
    "calinski_harabasz": calinski_harabasz,
    "davies_bouldin": davies_bouldin,
    "smallest_share": smallest_share,
    "largest_share": largest_share,
    "starts_at_best": starts_at_best,
    "wcss_worst_start": wcss_worst_start,
}


def curve(
    Z: NDArray[np.float64], clusterings: Mapping[int, Clustering], measured: Silhouettes
) -> pd.DataFrame:
    """All `METRICS` of all k as a frame indexed by k; NaN where a metric is not defined.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    measured : Silhouettes
        From `silhouettes`, for the same clusterings.
    """
    total = float(((Z - Z.mean(axis=0)) ** 2).sum())
    if 1 in clusterings and clusterings[1].totals is not None:
        total = clusterings[1].wcss
    fits = [
        Fit(
            Z=Z,
            clustering=clustering,
            sizes=clustering.sizes,
            total=total,
            silhouettes=measured.values.get(clustering.k),
            sampled=measured.sampled,
        )
        for _, clustering in sorted(clusterings.items())
    ]
    return pd.DataFrame(
        {name: [metric(fit) for fit in fits] for name, metric in METRICS.items()},
        index=pd.Index([fit.clustering.k for fit in fits], name="k"),
        dtype=float,
    )


def in_reference_space(
    Z: NDArray[np.float64], labels: NDArray[np.int32], *, seed: int
) -> dict[str, float]:
    """Quality of given segments in a space they were not necessarily made in.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        The customers in the reference space.
    labels : ndarray of shape (n,)
        Their segments, whatever space those come from.
    seed : int
        Seeds the sample of the silhouette.

    Returns
    -------
    dict
        ``wcss``, ``explained_variance`` and, for two segments or more, ``silhouette``.
    """
    ids, index = np.unique(labels, return_inverse=True)
    sizes = np.bincount(index)
    centers = np.stack([np.bincount(index, column) / sizes for column in Z.T], axis=1)
    clustering = Clustering(
        k=len(ids),
        centers=centers,
        wcss=float(((Z - centers[index]) ** 2).sum()),
        starts=(),
        assign=lambda _: index.astype(np.int32),
    )
    clusterings = {clustering.k: clustering}
    row = curve(Z, clusterings, silhouettes(Z, clusterings, seed=seed)).iloc[0]
    names = ["wcss", "explained_variance", "silhouette"]
    return {name: float(row[name]) for name in names if np.isfinite(row[name])}
