"""Null models: data without clusters that resemble the customers, and their silhouettes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import norm, rankdata

from segmentation.clustering.batched import Fits, fit_path
from segmentation.selection.evidence_settings import TENDENCY

Array = NDArray[np.float64]


def uniform_box(X: Array, draws: int, rng: np.random.Generator) -> Array:
    """Draw uniformly from the box around the data along its principal axes."""
    turned = _principal(X)
    box: Array = rng.uniform(turned.min(axis=0), turned.max(axis=0), (draws, *turned.shape))
    return box


def gaussian(X: Array, draws: int, rng: np.random.Generator) -> Array:
    """Draw from a Gaussian with the data's variances along its principal axes."""
    turned = _principal(X)
    cloud: Array = rng.normal(size=(draws, *turned.shape)) * turned.std(axis=0)
    return cloud


def permuted(X: Array, draws: int, rng: np.random.Generator) -> Array:
    """Shuffle each column on its own: the same values, now independent."""
    return rng.permuted(np.broadcast_to(X, (draws, *X.shape)), axis=1)


def copula(
    X: Array, draws: int, rng: np.random.Generator, features: Sequence[str] | None = None
) -> Array:
    """Rearrange each column to keep only the data's rank correlations (Gaussian copula).

    Parameters
    ----------
    X : ndarray of shape (n, d)
    draws : int
    rng : Generator
    features : sequence of str, length d, optional
        Feature that each column belongs to. The columns of a category stay together, so that no
        customer has two categories or none; its ranks are those of the order of its columns. By
        default each column is a feature of its own.
    """
    n, d = X.shape
    names = list(range(d)) if features is None else list(dict.fromkeys(features))
    of = names if features is None else features
    blocks = [np.array([j for j in range(d) if of[j] == name]) for name in names]
    keys = np.stack([X[:, block] @ np.arange(1.0, len(block) + 1) for block in blocks], axis=1)
    scores = norm.ppf(rankdata(keys, axis=0) / (n + 1))
    variances, axes = np.linalg.eigh(np.corrcoef(scores, rowvar=False).reshape(len(names), -1))
    noise = rng.normal(size=(draws, n, len(names)))
    correlated = noise @ (axes * np.sqrt(np.maximum(variances, 0))).T
    order = correlated.argsort(axis=1).argsort(axis=1)
    null = np.empty((draws, n, d))
    for place, block in enumerate(blocks):
        ascending = keys[:, place].argsort(kind="stable")
        null[:, :, block] = X[np.ix_(ascending, block)][order[:, :, place]]
    return null


def _principal(X: Array) -> Array:
    centered = X - X.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2]
    turned: Array = centered @ axes.T
    return turned


@dataclass(frozen=True)
class Null:
    """A function that draws data without clusters, shape (draws, n, d or fewer), and its name."""

    words: str
    draw: Callable[[Array, int, np.random.Generator], Array]


NULLS: dict[str, Null] = {
    "uniform": Null("evenly spread data", uniform_box),
    "gaussian": Null("Gaussian data", gaussian),
    "permuted": Null("data with shuffled columns", permuted),
    "copula": Null("data with only the same correlations", copula),
}


def silhouette_maxima(
    X: Array, ks: Sequence[int], rng: np.random.Generator
) -> tuple[pd.Series, Mapping[str, pd.DataFrame]]:
    """Compute mean silhouettes of the data and of draws from every null model.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    ks : sequence of int
        All >= 2.

    Returns
    -------
    own : Series indexed by k
    nulls : mapping of a name in `NULLS` to a DataFrame of shape (draws, len(ks))
    """
    ks = [k for k in ks if k < len(X)]
    own = mean_silhouettes(X[None], fit_path(X[None], ks, rng)).iloc[0]
    nulls = {}
    for name, null in NULLS.items():
        draws = null.draw(X, TENDENCY.null_draws, rng)
        nulls[name] = mean_silhouettes(draws, fit_path(draws, ks, rng))
    return own, nulls


def mean_silhouettes(X: Array, fits: Mapping[int, Fits]) -> pd.DataFrame:
    """Compute the mean silhouette (Rousseeuw 1987, eq. 2) of B data sets; a lone point counts 0.

    Parameters
    ----------
    X : ndarray of shape (B, n, d)
    fits : mapping of k to `Fits`

    Returns
    -------
    DataFrame of shape (B, number of ks), columns k
    """
    ks = list(fits)
    values = np.empty((len(X), len(ks)))
    for b, rows in enumerate(X):
        distances = cdist(rows, rows)
        members = [np.eye(k)[fits[k].labels[b]] for k in ks]
        # One matrix product for all k reads the distances only once.
        sums = np.split(distances @ np.hstack(members), np.cumsum(ks)[:-1], axis=1)
        for m, k in enumerate(ks):
            values[b, m] = _silhouette(sums[m], members[m], fits[k].labels[b])
    return pd.DataFrame(values, columns=pd.Index(ks, name="k"))


def _silhouette(sums: Array, members: Array, labels: NDArray[np.intp]) -> float:
    sizes = members.sum(axis=0)
    own = np.arange(len(labels)), labels
    a = sums[own] / np.maximum(sizes[labels] - 1, 1)
    others = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    others[own] = np.inf
    b = others.min(axis=1)
    scale = np.maximum(a, b)
    defined = (sizes[labels] > 1) & (scale > 0) & np.isfinite(b)
    return float(np.mean(np.where(defined, (b - a) / np.where(defined, scale, 1.0), 0.0)))
