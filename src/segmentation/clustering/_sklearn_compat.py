"""scikit-learn's Lloyd iterations without the checks around them.

There is no public way to run a few Lloyd steps on rows that were checked before: ``KMeans.fit``
checks, copies and centres the rows at each call, which takes ten times as long as eight steps of
2,500 rows. If the private function is gone, ``KMeans`` does the same more slowly.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

Floats = NDArray[np.float64]

try:
    from sklearn.cluster._kmeans import _kmeans_single_lloyd as _single
except ImportError:  # pragma: no cover - no version allowed today
    _single = None
_TAKES = {"X", "sample_weight", "centers_init", "max_iter", "verbose", "tol", "n_threads"}
if _single is not None and set(inspect.signature(_single).parameters) != _TAKES:
    _single = None


def lloyd(
    X: Floats, w: Floats, centers: Floats, steps: int
) -> tuple[NDArray[np.int32], float, Floats, bool]:
    """Run at most `steps` Lloyd steps from these centres (k, d).

    Returns
    -------
    labels, wcss, centers, settled
        Labels are those of the returned centres; settled is whether the last step changed no label.
    """
    if _single is not None:
        # It works in place on the centres it is given.
        labels, wcss, centers, done = _single(
            X, w, centers.copy(), max_iter=steps, verbose=False, tol=0.0, n_threads=1
        )
        return labels, float(wcss), centers, done < steps
    kmeans: Any = KMeans(len(centers), init=centers, n_init=1, max_iter=steps, tol=0.0)
    kmeans.fit(X, sample_weight=w)
    settled = kmeans.n_iter_ < steps
    return kmeans.labels_, float(kmeans.inertia_), kmeans.cluster_centers_, settled
