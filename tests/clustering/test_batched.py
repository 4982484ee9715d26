"""The batched fits are K-Means, problem by problem."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from segmentation.clustering.batched import fit_path, lloyd, plus_plus
from segmentation.selection.null_models import mean_silhouettes


def test_lloyd_equals_scikit_learn_from_the_same_centres() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 80, 2))
    centers = plus_plus(X, 4, rng)
    fits = lloyd(X, centers)
    for b in range(3):
        peer = KMeans(4, init=centers[b], n_init=1, tol=0, max_iter=300).fit(X[b])
        assert fits.wcss[b] == pytest.approx(peer.inertia_, rel=1e-9)
        np.testing.assert_array_equal(fits.labels[b], peer.labels_)


def test_weights_count_like_repeated_rows() -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 3))
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=2)
    start = np.broadcast_to(X[:3], (2, 3, 3))
    weighted = lloyd(X[None], start, counts.astype(float))
    for b in range(2):
        repeated = lloyd(np.repeat(X, counts[b], axis=0)[None], X[None, :3])
        assert weighted.wcss[b] == pytest.approx(repeated.wcss[0])
        np.testing.assert_allclose(weighted.centers[b], repeated.centers[0])


def test_wcss_never_rises_with_k_and_k_1_is_the_mean() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(5, 60, 2))
    fits = fit_path(X, range(1, 10), rng)
    wcss = np.array([fits[k].wcss for k in range(1, 10)])
    assert (np.diff(wcss, axis=0) <= 1e-9).all()
    np.testing.assert_allclose(fits[1].centers[:, 0], X.mean(axis=1))


def test_more_centres_than_distinct_rows_is_no_crash() -> None:
    X = np.repeat(np.array([[0.0, 0.0], [1.0, 1.0]]), 5, axis=0)[None]
    fits = fit_path(X, [1, 2, 4], np.random.default_rng(0))
    assert fits[2].wcss[0] == pytest.approx(0.0, abs=1e-12)
    assert fits[4].wcss[0] == pytest.approx(0.0, abs=1e-12)


def test_silhouettes_equal_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(2, 70, 3))
    fits = fit_path(X, [2, 5, 9], rng)
    table = mean_silhouettes(X, fits)
    for b in range(2):
        for k in (2, 5, 9):
            assert table.loc[b, k] == pytest.approx(silhouette_score(X[b], fits[k].labels[b]))
