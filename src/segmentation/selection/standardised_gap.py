"""The gap of the chosen k, comparable between feature sets and scalings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation.clustering.batched import best_of, lloyd, plus_plus
from segmentation.evaluation.sampling import sampled, varying
from segmentation.selection.evidence_settings import GAP
from segmentation.selection.null_models import copula

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


def standardised_gap(
    Z: Array, centers: Array, *, seed: int, features: Sequence[str] | None = None
) -> StandardisedGap | None:
    """Compute ``(mean(log WCSS of the null) - log WCSS) / sd(log WCSS of the null)``.

    The null has the same values in every column and the same rank correlations, and nothing else
    (`segmentation.selection.null_models.copula`). A Gaussian null would take any other
    distribution for clusters, such as the even spread that ``scaling=quantile`` makes; with
    shuffled columns, any correlation would count as clusters.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        At most 400 rows are used.
    centers : ndarray of shape (k, d)
        Of the chosen k.
    seed : int
    features : sequence of str, length d, optional
        Feature that each column belongs to.

    Returns
    -------
    StandardisedGap or None
        None if the null is the data themselves, as for k=1 or a single feature that varies.
    """
    rows = sampled(Z, GAP.rows, seed)
    columns = varying(rows)
    X, k = rows[:, columns], len(centers)
    names = [str(j) for j in range(len(columns))] if features is None else features
    of = [name for name, varies in zip(names, columns, strict=True) if varies]
    if k < 2 or len(set(of)) < 2 or len(X) <= k:
        return None
    rng = np.random.default_rng(seed)
    own = float(lloyd(X[None], centers[None][:, :, columns]).wcss[0])
    null = copula(X, GAP.draws, rng, of)
    fits = lloyd(null, plus_plus(null, k, rng))
    for _ in range(GAP.starts - 1):
        fits = best_of(fits, lloyd(null, plus_plus(null, k, rng)))
    if own <= 0 or fits.wcss.min() <= 0:
        return None
    logs = np.log(fits.wcss)
    spread = float(logs.std(ddof=1))
    if not spread > 0:
        return None
    gap = (float(logs.mean()) - math.log(own)) / spread
    # Delta method: the mean has variance 1/B, the standard deviation a relative one of 1/(2B).
    return StandardisedGap(gap, math.sqrt((1 + gap**2 / 2) / GAP.draws))
