"""Quality metrics of every fitted k. To add one, write a function and add a line to `METRICS`.

The line holds everything about the metric: its format, which direction is better, between which
runs it may be compared and where it is shown. Code that logs, ranks or prints metrics reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmentation.evaluation.formats import decimals, in_units, percent, whole

# Heavy modules are imported inside functions, so commands that only read runs start without SciPy
# and scikit-learn.
if TYPE_CHECKING:
    from segmentation.clustering.base import Clustering
    from segmentation.evaluation.silhouette import Silhouettes

T = TypeVar("T")

Better = Literal["higher", "lower"]
#: Between which runs a metric may be compared: all runs, runs with the same features and scaling,
#: or runs on the same customers.
Scope = Literal["any run", "own space", "reference space"]
ANY, OWN, REFERENCE = get_args(Scope)


class Shown(IntEnum):
    """Where a metric is shown. Each level includes the levels before it."""

    #: In MLflow: ``curve/NAME`` with step = k, and ``NAME`` for the chosen k.
    LOGGED = 0
    #: In the table over k of a run's report.
    REPORT = 1
    #: In ``segment compare format=csv`` or ``json``, and as ``sort=NAME``.
    RANKING = 2
    #: In the tables of ``segment compare`` and of a sweep's page.
    TABLE = 3
    #: In the MLflow UI's saved view of the runs.
    VIEW = 4


LOGGED, REPORT, RANKING, TABLE, VIEW = Shown


@dataclass(frozen=True)
class Metric(Generic[T]):
    """A metric: how to compute, format, compare and show it.

    Attributes
    ----------
    name : str
        Its name in MLflow and in the configuration.
    function : callable
        Computes the value; returns None if it is not defined.
    label : str
        Its name for readers.
    format : callable
        Formats a value.
    better : {"higher", "lower"}
    scope : {"any run", "own space", "reference space"}
        Between which runs it may be compared.
    shown : Shown
        Everywhere by default.
    short : str
        Column heading for narrow tables; defaults to `name`.
    in_reference : bool
        Whether it is also computed in the reference space, as ``reference/NAME``.

    Examples
    --------
    >>> def largest(fit: Fit) -> float:
    ...     return float(fit.sizes.max())
    >>> line = Metric("largest", largest, "customers in the largest", whole, "lower", "any run")
    >>> METRICS[line.name] = line  # doctest: +SKIP
    """

    name: str
    function: Callable[[T], float | None]
    label: str
    format: Callable[[float], str]
    better: Better
    scope: Scope
    shown: Shown = VIEW
    short: str = ""
    in_reference: bool = False


def by_name(*lines: Metric[T]) -> dict[str, Metric[T]]:
    """Return a table of metrics, keyed by name."""
    return {line.name: line for line in lines}


@dataclass(frozen=True)
class Fit:
    """The data a metric of one k can use.

    Attributes
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers; may be a sample if `clustering` has totals.
    clustering : Clustering
    sizes : ndarray of shape (k,)
        Cluster sizes, counted over all rows.
    total : float
        Total sum of squares over all rows.
    silhouettes : Silhouettes
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
    """WCSS of the worst independent start: a single start may end as high as this."""
    return max(fit.clustering.starts) if fit.clustering.starts else None


def starts_at_best(fit: Fit) -> float:
    """Independent starts that reached the best WCSS; a high number means an easy optimum."""
    return float(fit.clustering.starts_at_best)


def explained_variance(fit: Fit) -> float | None:
    """Share of the total sum of squares between the clusters, ``1 - WCSS(k) / WCSS(1)``."""
    return None if fit.total == 0 else 1 - fit.clustering.wcss / fit.total


def silhouette(fit: Fit) -> float | None:
    """Mean silhouette of the customers, estimated from a sample on large data."""
    k = fit.clustering.k
    return fit.silhouettes.mean(k) if k in fit.silhouettes.values else None


def silhouette_se(fit: Fit) -> float | None:
    """Standard error of the mean silhouette; only if it was measured on a sample."""
    k = fit.clustering.k
    if k not in fit.silhouettes.values or not fit.silhouettes.sampled:
        return None
    return fit.silhouettes.standard_error(k)


def silhouette_squared(fit: Fit) -> float | None:
    """Mean silhouette of squared distances over all rows. Do not compare it with `silhouette`."""
    return fit.clustering.silhouette_squared


def calinski_harabasz(fit: Fit) -> float | None:
    """Ratio of between to within variance, by degrees of freedom (Calinski, Harabasz 1974)."""
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
    from scipy.spatial.distance import cdist

    apart = cdist(centers, centers)
    np.fill_diagonal(apart, np.inf)
    # As in scikit-learn, coinciding centres do not count.
    apart[apart == 0] = np.inf
    return float(((within[:, None] + within) / apart).max(axis=1).mean())


def polish_gain(fit: Fit) -> float | None:
    """Share of the WCSS gained by the last pass over all rows; only on the large-data path."""
    return None if fit.clustering.polish is None else fit.clustering.polish.gain


def sample_se(fit: Fit) -> float | None:
    """Relative standard error of the WCSS on the sample used to solve a large table."""
    return None if fit.clustering.polish is None else fit.clustering.polish.sample_se


def smallest_share(fit: Fit) -> float:
    """Share of all customers in the smallest cluster."""
    return float(fit.sizes.min() / fit.n)


def largest_share(fit: Fit) -> float:
    """Share of all customers in the largest cluster."""
    return float(fit.sizes.max() / fit.n)


METRICS: dict[str, Metric[Fit]] = by_name(
    Metric("wcss", wcss, "WCSS", in_units, "lower", OWN, TABLE, in_reference=True),
    Metric(
        "explained_variance",
        explained_variance,
        "explained variance",
        percent,
        "higher",
        OWN,
        TABLE,
        short="explained",
        in_reference=True,
    ),
    Metric("silhouette", silhouette, "silhouette", decimals(3), "higher", OWN, in_reference=True),
    Metric(
        "silhouette_se",
        silhouette_se,
        "standard error of the silhouette",
        decimals(4),
        "lower",
        OWN,
        LOGGED,
    ),
    Metric(
        "silhouette_squared",
        silhouette_squared,
        "silhouette of squared distances",
        decimals(3),
        "higher",
        OWN,
        LOGGED,
    ),
    Metric(
        "calinski_harabasz",
        calinski_harabasz,
        "Calinski-Harabasz",
        decimals(1),
        "higher",
        OWN,
        REPORT,
    ),
    Metric("davies_bouldin", davies_bouldin, "Davies-Bouldin", decimals(3), "lower", OWN, REPORT),
    Metric("smallest_share", smallest_share, "smallest segment", percent, "higher", ANY, RANKING),
    Metric("largest_share", largest_share, "largest segment", percent, "lower", ANY, REPORT),
    Metric(
        "starts_at_best", starts_at_best, "starts at the best WCSS", whole, "higher", ANY, LOGGED
    ),
    Metric(
        "wcss_worst_start",
        wcss_worst_start,
        "WCSS of the worst start",
        in_units,
        "lower",
        OWN,
        LOGGED,
    ),
    Metric("polish_gain", polish_gain, "gain of the last pass", percent, "lower", ANY, LOGGED),
    Metric("sample_se", sample_se, "standard error of the WCSS", percent, "lower", ANY, LOGGED),
)


def curve(
    Z: NDArray[np.float64], clusterings: Mapping[int, Clustering], measured: Silhouettes
) -> pd.DataFrame:
    """Compute all `METRICS` for all k, as a frame indexed by k; NaN if a metric is not defined.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    clusterings : mapping of k to `Clustering`
    measured : Silhouettes
        From `silhouettes`, for the same clusterings.
    """
    # On large data the total over all rows is already known; Z may only be a sample.
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
        {name: [metric.function(fit) for fit in fits] for name, metric in METRICS.items()},
        index=pd.Index([fit.clustering.k for fit in fits], name="k"),
        dtype=float,
    )


def _sum_of_squares(Z: NDArray[np.float64]) -> float:
    from segmentation.evaluation.dispersion import scatter

    return float(scatter(Z, np.zeros(len(Z), np.int32), 1).total.sum())


def in_reference_space(
    Z: NDArray[np.float64], labels: NDArray[np.int32], *, seed: int
) -> dict[str, float]:
    """Compute the quality of segments in a space other than the one they were found in.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        The customers in the reference space.
    labels : ndarray of shape (n,)
        Their segments, from any space.
    seed : int
        Seed of the silhouette's sample.

    Returns
    -------
    dict
        Maps names to values, for every metric that is computed in the reference space and defined
        for these segments.
    """
    from segmentation.clustering.base import Clustering
    from segmentation.evaluation.dispersion import scatter
    from segmentation.evaluation.silhouette import Silhouettes, silhouettes

    # Renumber without gaps, in case a segment has no customers here.
    present = np.bincount(labels) > 0
    k = int(present.sum())
    index = (np.cumsum(present) - 1).astype(np.int32)[labels]
    squares = scatter(Z, index, k)
    clustering = Clustering(
        k=k,
        centers=squares.means,
        wcss=float(squares.within.sum()),
        starts=(),
        assign=lambda _, rows=slice(None): index[rows],
    )
    fit = Fit(
        Z=Z,
        clustering=clustering,
        sizes=squares.sizes,
        total=float(squares.total.sum()),
        silhouettes=(
            silhouettes(Z, {k: clustering}, seed=seed) if k > 1 else Silhouettes({}, {}, {}, {}, {})
        ),
    )
    found = {m.name: m.function(fit) for m in METRICS.values() if m.in_reference}
    return {name: value for name, value in found.items() if value is not None}
