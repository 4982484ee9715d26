"""Search of more rows, or for more clusters, than a batch of starts holds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans

from segmentation.clustering import ENGINES, _sklearn_compat, global_search
from segmentation.clustering.local_search import local_search
from segmentation.clustering.search_settings import EFFORTS, GENERATIONS, SINGLE_STARTS
from segmentation.clustering.weighted_rows import WeightedRows

engine = ENGINES["sklearn"]


def normal(n: int = 2_600, d: int = 4) -> np.ndarray:
    """Rows without groups: the local optima are many and close."""
    return np.random.default_rng(8).normal(size=(n, d))


def rows_of(Z: np.ndarray, weights: np.ndarray | None = None, **options: bool) -> WeightedRows:
    w = np.ones(len(Z)) if weights is None else weights
    return WeightedRows(Z - np.average(Z, axis=0, weights=w), w, **options)


def gain_of_best_move(rows: WeightedRows, centers: np.ndarray, labels: np.ndarray) -> float:
    """What the best move of a single row gains, from Hartigan's formula."""
    D, each = cdist(rows.X, centers, "sqeuclidean"), np.arange(rows.m)
    W = np.bincount(labels, rows.w, len(centers))
    spare = W[labels] - rows.w
    out = np.where(spare > 1e-9, D[each, labels] * W[labels] * rows.w / np.maximum(spare, 1e-9), 0)
    into = D * W * rows.w[:, None] / (W + rows.w[:, None])
    into[each, labels] = np.inf
    return float((out - into.min(axis=1)).max())


@pytest.mark.parametrize("by_difference", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_move_of_a_single_row_lowers_the_wcss(weighted: bool, by_difference: bool) -> None:
    Z, k = normal(), 9
    assert k * len(Z) > SINGLE_STARTS.entries
    w = np.random.default_rng(1).uniform(0.2, 5.0, len(Z)) if weighted else None
    rows = rows_of(Z, w, by_difference=by_difference)
    starts = global_search.plus_plus(rows, k, 2, np.random.default_rng(0))
    best = min(local_search(rows, starts), key=lambda solution: solution.wcss)
    apart = ((rows.X - best.centers[best.labels]) ** 2).sum(axis=1)
    assert best.wcss == pytest.approx(apart @ rows.w, rel=1e-9)
    assert set(best.labels.tolist()) == set(range(k))
    assert gain_of_best_move(rows, best.centers, best.labels) <= 1e-9 * best.wcss


def test_starts_reach_better_optima_than_lloyds_algorithm_alone() -> None:
    rows, k = rows_of(normal()), 9
    starts = global_search.plus_plus(rows, k, 6, np.random.default_rng(0))
    ours = [solution.wcss for solution in local_search(rows, starts)]
    plain = [KMeans(k, init=c, n_init=1, tol=0).fit(rows.X).inertia_ for c in starts]
    assert np.mean(ours) < np.mean(plain) * (1 - 1e-3)


def test_more_than_2000_rows_are_searched_as_well_as_fewer() -> None:
    """A search of a sample missed the best of ten restarts here."""
    Z = normal(3_000, 3)
    fitted = engine.fit_k_range(Z, range(2, 8), seed=0, effort="fast")
    for k, clustering in fitted.items():
        restarts = KMeans(k, n_init=10, random_state=0, tol=0).fit(Z).inertia_
        assert clustering.wcss <= restarts * (1 + 1e-9), k


def test_rows_in_any_order_and_weights_instead_of_repeats() -> None:
    rng = np.random.default_rng(3)
    Z = normal()
    times = rng.integers(1, 4, len(Z))
    order = rng.permutation(int(times.sum()))
    weighted = engine.fit_k_range(Z, [8], seed=0, effort="fast", sample_weight=times)[8]
    repeated = np.repeat(Z, times, axis=0)[order]
    again = engine.fit_k_range(repeated, [8], seed=0, effort="fast")[8]
    assert again.wcss == weighted.wcss
    assert np.array_equal(again.centers, weighted.centers)
    assert np.array_equal(again.labels, np.repeat(weighted.labels, times)[order])


def test_tiny_clusters_beside_a_huge_outlier_are_still_found() -> None:
    tight = np.repeat(np.arange(8.0), 400) + np.linspace(0, 1e-3, 3_200)
    fitted = engine.fit_k_range(np.r_[tight, 1e9][:, None], [9], seed=0, effort="fast")[9]
    assert sorted(fitted.sizes) == [1, *[400] * 8]


def test_one_large_k_is_searched_without_those_below() -> None:
    rows = rows_of(normal(120, 2))
    found = global_search.search_range(rows, [3, 50, 51], EFFORTS["fast"], 0)
    assert list(found) == [1, 2, 3, 50, 51]
    within = global_search.search_range(rows, [GENERATIONS.ladder], EFFORTS["fast"], 0)
    assert list(within) == list(range(1, GENERATIONS.ladder + 1))


def test_a_large_k_is_as_good_alone_as_many_restarts() -> None:
    Z = normal(500, 2)
    fitted = engine.fit_k_range(Z, [2, 30, 50], seed=0, effort="fast")
    assert list(fitted) == [2, 30, 50]
    for k in (30, 50):
        assert fitted[k].wcss < KMeans(k, n_init=20, random_state=0).fit(Z).inertia_
        assert fitted[k].sizes.all()


def test_scikit_learns_private_and_public_ways_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _sklearn_compat._single is not None, "scikit-learn changed: KMeans is used, and slower"
    Z, w = normal(), np.random.default_rng(2).uniform(0.5, 2.0, 2_600)
    start = Z[:6].copy()
    private = [_sklearn_compat.lloyd(Z, w, start, steps) for steps in (5, 500)]
    assert np.array_equal(start, Z[:6])
    monkeypatch.setattr(_sklearn_compat, "_single", None)
    public = [_sklearn_compat.lloyd(Z, w, start, steps) for steps in (5, 500)]
    for (labels, wcss, centers, settled), other in zip(private, public, strict=True):
        assert np.array_equal(labels, other[0])
        assert wcss == pytest.approx(other[1], rel=1e-9)
        np.testing.assert_allclose(centers, other[2], atol=1e-9)
        assert settled == other[3]
    assert [each[3] for each in private] == [False, True]
