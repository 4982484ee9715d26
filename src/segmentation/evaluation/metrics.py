"""Quality numbers of every fitted k. Adding one is a function and a line in `METRICS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from segmentation.clustering.base import Clustering
from segmentation.evaluation.dispersion import scatter
from segmentation.evaluation.silhouette import Silhouettes, silhouettes


@dataclass(frozen=True)
class Fit:
    """What a metric of one k may look at: data, clustering, sizes (k,), total sum of squares.

    Sizes and total are of all rows; `Z` may be a sample of them where the clustering has totals.
    """

    Z: NDArray[np.float64]
    clustering: Clustering
    sizes: NDArray[np.intp]
    total: float
    silhouettes: Silhouettes

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
    """Mean silhouette of the customers, estimated from a sample of very many."""
    k = fit.clustering.k
    return fit.silhouettes.mean(k) if k in fit.silhouettes.values else None


def silhouette_se(fit: Fit) -> float | None:
    """Standard error of the mean silhouette; only where it was measured on a sample."""
    k = fit.clustering.k
    if k not in fit.silhouettes.values or not fit.silhouettes.sampled:
        return None
    return fit.silhouettes.standard_error(k)


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
    totals, centers = fit.clustering.totals, fit.clustering.centers
    # Mean distance of each cluster's rows to its centre.
    if totals is None:
        labels = fit.clustering.labels
        distances = np.sqrt(((fit.Z - centers[labels]) ** 2).sum(axis=1))
        within = np.bincount(labels, distances, len(centers)) / fit.sizes
    else:
        within = totals.distances / np.maximum(totals.weights, 1.0)
    apart = cdist(centers, centers)
    np.fill_diagonal(apart, np.inf)
    # As scikit-learn has it: coinciding centres do not count.
    apart[apart == 0] = np.inf
    return float(((within[:, None] + within) / apart).max(axis=1).mean())


def polish_gain(fit: Fit) -> float | None:
    """Share of the WCSS that the last pass over all rows won; only on the large-data path."""
    return None if fit.clustering.polish is None else fit.clustering.polish.gain


def sample_se(fit: Fit) -> float | None:
    """Relative standard error of the WCSS on the sample a large table was solved on."""
    return None if fit.clustering.polish is None else fit.clustering.polish.sample_se


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
    "polish_gain": polish_gain,
    "sample_se": sample_se,
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
    # Of all rows, where these are a sample; and where they are many, it is known.
    is_known = 1 in clusterings and clusterings[1].totals is not None
    total = clusterings[1].wcss if is_known else _sum_of_squares(Z)
    fits = [
        Fit(
            Z=Z,
            clustering=clustering,
            sizes=clustering.sizes,
            total=total,
            silhouettes=measured,
        )
        for _, clustering in sorted(clusterings.items())
    ]
    return pd.DataFrame(
        {name: [metric(fit) for fit in fits] for name, metric in METRICS.items()},
        index=pd.Index([fit.clustering.k for fit in fits], name="k"),
        dtype=float,
    )


def _sum_of_squares(Z: NDArray[np.float64]) -> float:
    return float(scatter(Z, np.zeros(len(Z), np.int32), 1).total.sum())


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
    # Without gaps, should a segment have no customer here.
    present = np.bincount(labels) > 0
    k = int(present.sum())
    index = (np.cumsum(present) - 1).astype(np.int32)[labels]
    squares = scatter(Z, index, k)
    wcss, total = float(squares.within.sum()), float(squares.total.sum())
    found = {"wcss": wcss}
    if total > 0:
        found["explained_variance"] = 1 - wcss / total
    if k > 1:
        clustering = Clustering(
            k=k,
            centers=squares.means,
            wcss=wcss,
            starts=(),
            assign=lambda _, rows=slice(None): index[rows],
        )
        clusterings = {clustering.k: clustering}
        found["silhouette"] = silhouettes(Z, clusterings, seed=seed).mean(clustering.k)
    return found
