"""The gap of the chosen k, comparable between feature sets and scalings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.batched import Fits, best_of, lloyd, plus_plus
from segmentation.evaluation.sampling import sampled, varying
from segmentation.selection.evidence_settings import GAP
from segmentation.selection.null_models import permuted

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StandardisedGap:
    """How far log WCSS lies below that of data without clusters.

    Attributes
    ----------
    gap : float
        In standard deviations of the null.
    error : float
        Standard error of `gap`, from the number of draws.
    """

    gap: float
    error: float


def standardised_gap(Z: Array, k: int, *, seed: int) -> StandardisedGap | None:
    """Compute ``(mean(log WCSS of the null) - log WCSS) / sd(log WCSS of the null)``.

    The null shuffles each column on its own, so it has the same values in every column. A Gaussian
    null would call any change of the values' distribution a cluster, such as the even spread that
    ``scaling=quantile`` makes.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    k : int
    seed : int

    Returns
    -------
    StandardisedGap or None
        None if the null always has the same WCSS, as for k=1 or a single column that varies.
    """
    rows = sampled(Z, GAP.rows, seed)
    X = rows[:, varying(rows)]
    if k < 2 or X.shape[1] < 2 or len(X) <= k:
        return None
    rng = np.random.default_rng(seed)
    own = _fit(X[None], k, rng).wcss[0]
    null = _fit(permuted(X, GAP.draws, rng), k, rng).wcss
    if own <= 0 or null.min() <= 0:
        return None
    logs = np.log(null)
    spread = float(logs.std(ddof=1))
    if not spread > 0:
        return None
    gap = float(logs.mean() - np.log(own)) / spread
    # Delta method: the mean has variance 1/B, the standard deviation a relative one of 1/(2B).
    return StandardisedGap(gap, math.sqrt((1 + gap**2 / 2) / GAP.draws))


def _fit(X: Array, k: int, rng: np.random.Generator) -> Fits:
    """Fit k centres to each data set: the same procedure for the customers and the null."""
    best = lloyd(X, plus_plus(X, k, rng))
    for _ in range(GAP.starts - 1):
        best = best_of(best, lloyd(X, plus_plus(X, k, rng)))
    return best
