"""Criteria computed over a whole range of k: ICL, gap statistic, prediction strength."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import entr
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from segmentation.clustering.base import Clustering
from segmentation.clustering.batched import fit_path
from segmentation.clustering.rows import labels_of
from segmentation.evaluation.sampling import sampled, unround, varying
from segmentation.selection.evidence_settings import CRITERIA_SETTINGS
from segmentation.selection.null_models import gaussian

Array = NDArray[np.float64]


def _rows(Z: Array, limit: int, seed: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return at most `limit` rows, rounding undone and constant columns dropped, and the mask."""
    rows = sampled(Z, limit, seed)
    columns = varying(rows)
    return unround(rows[:, columns], seed), columns


def icl(Z: Array, clusterings: Mapping[int, Clustering], *, seed: int) -> pd.DataFrame:
    """Compute the integrated completed likelihood of Gaussian mixtures started at K-Means centres.

    ``ICL = BIC - 2 sum_ik p_ik log p_ik`` with ``BIC = -2 log L + (free parameters) log n``; lower
    is better (Biernacki, Celeux & Govaert 2000, eq. 11, with soft assignments). The lowest value
    among full, diagonal and spherical covariances is taken. The 3 % most isolated customers are
    left out.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    clusterings : mapping of k to `Clustering`
    seed : int

    Returns
    -------
    DataFrame
        Index k; columns ``icl`` and ``bic`` (of the same mixture).
    """
    X, columns = _rows(Z, CRITERIA_SETTINGS.rows["icl"], seed)
    isolation = _isolation(X)
    X = X[isolation <= np.quantile(isolation, 1 - CRITERIA_SETTINGS.trimmed)]
    rows = {k: _lowest_mixture(X, fit.centers[:, columns]) for k, fit in clusterings.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["icl", "bic"])
    return table.sort_index().rename_axis("k")


def _isolation(X: Array) -> Array:
    """Return distances to the fifth-nearest other row: small inside any group of more than five."""
    neighbours = NearestNeighbors(
        n_neighbors=min(CRITERIA_SETTINGS.isolation_rank, len(X) - 1)
    ).fit(X)
    distances: Array = neighbours.kneighbors()[0][:, -1]
    return distances


def _lowest_mixture(X: Array, centers: Array) -> tuple[float, float]:
    """Return ICL and BIC of the covariance structure with the lowest ICL."""
    k, d = centers.shape
    floor = CRITERIA_SETTINGS.variance_floor * float(X.var(axis=0).mean())
    labels = labels_of(X, centers)
    sizes = np.maximum(np.bincount(labels, minlength=k), 1)
    within = np.empty((k, d, d))
    for j in range(k):
        own = X[labels == j] - centers[j]
        within[j] = own.T @ own / sizes[j] + floor * np.eye(d)
    variances = within.diagonal(axis1=1, axis2=2)
    # All three starts are given. If one were missing, scikit-learn would run its own K-Means.
    precisions = {
        "full": np.linalg.inv(within),
        "diag": 1 / variances,
        "spherical": 1 / variances.mean(axis=1),
    }
    scores = []
    for kind, start in precisions.items():
        mixture = GaussianMixture(
            k,
            covariance_type=kind,
            reg_covar=floor,
            max_iter=CRITERIA_SETTINGS.em_steps,
            weights_init=sizes / sizes.sum(),
            means_init=centers,
            precisions_init=start,
            init_params="random_from_data",
            random_state=0,
        )
        with warnings.catch_warnings():
            # A hundred steps are enough to compare; the last digits of a likelihood do not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(X)
        shares = mixture.predict_proba(X)
        bic = float(mixture.bic(X))
        scores.append((bic + 2 * float(entr(shares).sum()), bic))
    return min(scores)


def gap(Z: Array, ks: Sequence[int], *, seed: int) -> pd.DataFrame:
    """Compute the gap statistic (Tibshirani, Walther & Hastie 2001, eq. 3), Gaussian reference.

    ``gap(k) = mean(log WCSS of the reference) - log WCSS``. The reference is Gaussian data with
    the same principal variances: a uniform reference finds clusters in any unimodal data.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    ks : sequence of int
    seed : int

    Returns
    -------
    DataFrame
        Index k; columns ``gap`` and ``gap_se``, which is the standard deviation of the reference
        times ``sqrt(1 + 1 / draws)``.
    """
    X, _ = _rows(Z, CRITERIA_SETTINGS.rows["gap"], seed)
    rng = np.random.default_rng(seed)
    own = fit_path(X[None], ks, rng)
    null = fit_path(gaussian(X, CRITERIA_SETTINGS.gap_draws, rng), ks, rng)
    table = pd.DataFrame(index=pd.Index(ks, name="k"), columns=["gap", "gap_se"], dtype=float)
    for k in ks:
        # Every point is its own centre, so the logarithm of WCSS is undefined.
        if own[k].wcss[0] <= 0 or null[k].wcss.min() <= 0:
            continue
        reference = np.log(null[k].wcss)
        table.loc[k, "gap"] = reference.mean() - np.log(own[k].wcss[0])
        table.loc[k, "gap_se"] = reference.std() * np.sqrt(1 + 1 / CRITERIA_SETTINGS.gap_draws)
    return table


def prediction_strength(Z: Array, ks: Sequence[int], *, seed: int) -> pd.Series:
    """Compute the prediction strength (Tibshirani & Walther 2005, eq. 2), mean over half splits.

    For each cluster of one half, take the share of its pairs of points that the centres of the
    other half also put together; the strength is the smallest of these shares. A cluster of one
    point has no pairs and counts as 0.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
    ks : sequence of int
    seed : int

    Returns
    -------
    Series
        Index k.
    """
    X, _ = _rows(Z, CRITERIA_SETTINGS.rows["prediction_strength"], seed)
    rng = np.random.default_rng(seed)
    first = np.broadcast_to(np.arange(len(X)) < len(X) // 2, (CRITERIA_SETTINGS.splits, len(X)))
    first = rng.permuted(first, axis=1)
    halves = np.concatenate([first, ~first])
    fits = fit_path(X[None], ks, rng, halves.astype(np.float64))
    strength = {}
    for k in ks:
        labels = fits[k].labels
        other = np.roll(labels, CRITERIA_SETTINGS.splits, axis=0)
        strength[k] = np.mean(
            [
                _together(own[half], their[half], k)
                for own, their, half in zip(labels, other, halves, strict=True)
            ]
        )
    return pd.Series(strength, name="prediction_strength", dtype=float).rename_axis("k")


def _together(own: NDArray[np.intp], their: NDArray[np.intp], k: int) -> float:
    table = np.bincount(own * k + their, minlength=k * k).reshape(k, k).astype(np.float64)
    sizes = table.sum(axis=1)
    kept = (table * (table - 1)).sum(axis=1)
    pairs = sizes * (sizes - 1)
    share = np.where(pairs > 0, kept / np.where(pairs > 0, pairs, 1.0), 0.0)
    return float(share[sizes > 0].min())


def lowest(values: pd.Series) -> int | None:
    """Return the k with the smallest value, or None if all are NaN."""
    return highest(-values)


def highest(values: pd.Series) -> int | None:
    """Return the k with the largest value, or None if all are NaN."""
    known = values.dropna()
    return int(known.index.to_numpy()[known.to_numpy().argmax()]) if len(known) else None


def first_gap(gaps: pd.Series, errors: pd.Series) -> int | None:
    """Return the smallest k with ``gap(k) >= gap(next k) - error(next k)``, else the largest k."""
    known = gaps.dropna()
    if known.empty:
        return None
    reached = known.to_numpy()[:-1] >= (known - errors[known.index]).to_numpy()[1:]
    return int(known.index.to_numpy()[reached.argmax() if reached.any() else -1])


def largest_strong(strength: pd.Series) -> int | None:
    """Return the largest k with a prediction strength of at least 0.8, or None."""
    strong = strength.index.to_numpy()[strength.to_numpy() >= CRITERIA_SETTINGS.strong]
    return int(strong.max()) if len(strong) else None
