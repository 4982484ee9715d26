"""The silhouette of squared distances against scikit-learn's, which looks at every pair."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from segmentation.clustering.assignment import totals
from segmentation.clustering.squared_silhouette import squared_silhouettes


def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(700, 3)) + np.repeat(np.eye(3) * 3, [300, 399, 1], axis=0)


@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_it_is_scikit_learns(k: int, dtype: str, close: float) -> None:
    X = rows()
    centers = {k: X[np.random.default_rng(k).choice(len(X), k, replace=False)]}
    known = totals(X, centers, dtype=np.float64)
    found = squared_silhouettes(X.astype(dtype), centers, known)[k] / len(X)
    labels = ((X[:, None] - centers[k]) ** 2).sum(axis=2).argmin(axis=1)
    assert found == pytest.approx(silhouette_score(X, labels, metric="sqeuclidean"), rel=close)


def test_a_centre_without_rows_and_a_cluster_of_one_count_for_nothing() -> None:
    X = np.vstack([rows(), [[50.0, 50.0, 50.0]]])
    centers = {"all": np.array([[3.0, 0, 0], [0, 3.0, 0], [50.0, 50.0, 50.0]])}
    more = {"all": np.vstack([centers["all"], [[1e6, 1e6, 1e6]]])}
    labels = ((X[:, None] - centers["all"]) ** 2).sum(axis=2).argmin(axis=1)
    expected = silhouette_score(X, labels, metric="sqeuclidean") * len(X)
    for each in (centers, more):
        known = totals(X, each, dtype=np.float64)
        assert squared_silhouettes(X, each, known)["all"] == pytest.approx(expected, rel=1e-12)


def test_equal_rows_and_blocks_add_up() -> None:
    X = np.zeros((20_000, 2))
    centers = {2: np.array([[0.0, 0.0], [1.0, 1.0]])}
    X[:5] = 1.0
    known = totals(X, centers, dtype=np.float64)
    whole = squared_silhouettes(X, centers, known)[2]
    parts = [squared_silhouettes(part, centers, known)[2] for part in np.array_split(X, 3)]
    assert whole == pytest.approx(20_000)
    assert sum(parts) == pytest.approx(whole)
