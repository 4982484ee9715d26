"""Compare a challenger and a champion on the same customers, without logging."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score
from sklearn.pipeline import Pipeline

from segmentation.clustering import ENGINES
from segmentation.clustering.base import Clustering
from segmentation.evaluation.measure_settings import SILHOUETTES
from segmentation.evaluation.stability import Stability, bootstrap_stability
from segmentation.selection.cluster_tendency import Gate, find_structure

#: The structure tests use at most 5,000 customers; fits of many more would be wasted.
STRUCTURE_ROWS = 10_000


def reference_space(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return the space for comparing two models: their columns, text one-hot encoded, standardised.

    It uses neither model's own scaling, since each model would look best in its own.

    Parameters
    ----------
    frame : DataFrame of n customers
    columns : sequence of str
        All columns that either model uses; constant ones are left out.

    Returns
    -------
    ndarray of shape (n, columns and categories)
    """
    X = pd.get_dummies(frame[[*dict.fromkeys(columns)]], dtype=float).to_numpy(dtype=np.float64)
    spread = X.std(axis=0)
    return np.asarray((X - X.mean(axis=0))[:, spread > 0] / spread[spread > 0])


def silhouettes(
    X: NDArray[np.float64], *labelings: NDArray[np.int64], seed: int
) -> list[float | None]:
    """Compute the mean silhouette of each labelling; None for a labelling with a single segment.

    Above 10,000 customers, all labellings use the same seeded sample of 10,000.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        From `reference_space`.
    *labelings : ndarrays of shape (n,)
    seed : int
    """
    rows = np.arange(len(X))
    if len(X) > SILHOUETTES.sample:
        rows = np.random.default_rng(seed).choice(len(X), SILHOUETTES.sample, replace=False)
    values: list[float | None] = []
    for labels in labelings:
        found = len(np.unique(labels[rows]))
        measurable = X.shape[1] > 0 and 2 <= found < len(rows)
        values.append(float(silhouette_score(X[rows], labels[rows])) if measurable else None)
    return values


def structure(pipeline: Pipeline, frame: pd.DataFrame, *, k_max: int, seed: int) -> Gate:
    """Test for cluster structure afterwards, for a run that did not test it.

    Above 10,000 customers, a seeded sample of 10,000 is used.

    Parameters
    ----------
    pipeline : Pipeline
        The challenger's; only its features are used.
    frame : DataFrame of n customers
    k_max : int
        The largest k of the run.
    seed : int
    """
    if len(frame) > STRUCTURE_ROWS:
        frame = frame.sample(STRUCTURE_ROWS, random_state=seed)
    Z = _encoded(pipeline, frame)
    distinct = len(np.unique(Z, axis=0))
    ks = range(1, max(1, min(max(k_max, 2), distinct)) + 1)
    clusterings = ENGINES["sklearn"].fit_k_range(Z, list(ks), seed=seed, effort="fast")
    return find_structure(Z, clusterings, seed=seed)


def stability(pipeline: Pipeline, frame: pd.DataFrame, *, seed: int) -> Stability:
    """Compute the bootstrap stability of the segments, for a run that did not compute it."""
    Z = _encoded(pipeline, frame)
    centers = np.asarray(pipeline[-1].cluster_centers_, dtype=np.float64)
    own = Clustering(
        k=len(centers),
        centers=centers,
        wcss=float(pipeline[-1].inertia_),
        starts=(),
        assign=lambda centers: cdist(Z, centers).argmin(axis=1).astype(np.int32),
    )
    return bootstrap_stability(Z, own, seed=seed)


def _encoded(pipeline: Pipeline, frame: pd.DataFrame) -> NDArray[np.float64]:
    return np.ascontiguousarray(pipeline[:-1].transform(frame), dtype=np.float64)
