from __future__ import annotations

import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, make_blobs

from segmentation.clustering import ENGINES, global_search
from segmentation.clustering import local_search as local
from segmentation.clustering.base import Clustering
from segmentation.clustering.local_search import local_search
from segmentation.clustering.search_settings import EFFORTS
from segmentation.clustering.weighted_rows import WeightedRows
from segmentation.errors import ConfigError, DataError

engine = ENGINES["sklearn"]

# Integers make ties and equal rows common; the factor makes some of them badly scaled.
tables = st.tuples(st.integers(1, 25), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(-6, 6))
)
scales = st.sampled_from([1.0, 0.1, 1e-9, 1e7])


def wcss_of(Z, clustering, weights=None):
    d2 = ((Z - clustering.centers[clustering.labels]) ** 2).sum(axis=1)
    return float(d2 @ (np.ones(len(Z)) if weights is None else weights))


def blobs(n=120, d=3, seed=3):
    return make_blobs(n, d, centers=6, cluster_std=2.5, random_state=seed)[0]


@settings(max_examples=40, deadline=None)
@given(table=tables, scale=scales, seed=st.integers(0, 3), data=st.data())
def test_every_k_is_a_proper_clustering_and_wcss_never_rises(table, scale, seed, data):
    Z = table * scale
    weights = data.draw(
        st.none() | arrays(np.float64, len(Z), elements=st.floats(0.25, 4.0, width=16))
    )
    distinct = len(np.unique(Z, axis=0))
    fitted = engine.fit_k_range(
        Z, range(1, min(distinct, 7) + 1), seed=seed, effort="fast", sample_weight=weights
    )
    total = fitted[1].wcss
    last = np.inf
    for k, clustering in fitted.items():
        assert clustering.wcss <= last
        last = clustering.wcss
        assert clustering.centers.shape == (k, Z.shape[1])
        assert set(clustering.labels) == set(range(k))
        assert clustering.labels.dtype == np.int32
        assert clustering.wcss == pytest.approx(
            wcss_of(Z, clustering, weights), rel=1e-9, abs=1e-14 * total
        )
        w = np.ones(len(Z)) if weights is None else weights
        for j, center in enumerate(clustering.centers):
            own = clustering.labels == j
            mean = np.average(Z[own], axis=0, weights=w[own])
            np.testing.assert_allclose(center, mean, rtol=1e-9, atol=1e-12 * np.abs(Z).max())


@settings(max_examples=25, deadline=None)
@given(table=tables, seed=st.integers(0, 3), data=st.data())
def test_repeated_rows_are_exactly_weights(table, seed, data):
    Z = table.astype(float)
    times = data.draw(arrays(np.int64, len(Z), elements=st.integers(1, 4)))
    ks = range(1, min(len(np.unique(Z, axis=0)), 5) + 1)
    weighted = engine.fit_k_range(Z, ks, seed=seed, effort="fast", sample_weight=times)
    repeated = engine.fit_k_range(np.repeat(Z, times, axis=0), ks, seed=seed, effort="fast")
    for k in ks:
        assert weighted[k].wcss == repeated[k].wcss
        assert np.array_equal(weighted[k].centers, repeated[k].centers)
        assert np.array_equal(np.repeat(weighted[k].labels, times), repeated[k].labels)


def test_row_order_does_not_matter():
    Z = np.round(blobs(), 1)
    order = np.random.default_rng(0).permutation(len(Z))
    weights = np.random.default_rng(1).uniform(0.1, 3.0, len(Z))
    straight = engine.fit_k_range(Z, range(1, 8), seed=4, sample_weight=weights)
    shuffled = engine.fit_k_range(Z[order], range(1, 8), seed=4, sample_weight=weights[order])
    for k in straight:
        assert straight[k].wcss == shuffled[k].wcss
        assert np.array_equal(straight[k].centers, shuffled[k].centers)
        assert np.array_equal(straight[k].labels[order], shuffled[k].labels)


def test_same_seed_same_bits():
    Z = blobs()
    first, again = (engine.fit_k_range(Z, range(1, 8), seed=9) for _ in range(2))
    for k in first:
        assert first[k].wcss == again[k].wcss
        assert first[k].starts == again[k].starts
        assert first[k].centers.tobytes() == again[k].centers.tobytes()


def test_published_iris_values():
    fitted = engine.fit_k_range(load_iris().data, range(1, 11), seed=0)
    best = [152.347951760, 78.851441426, 57.228473214, 46.446182051, 39.039987246]
    best += [34.298229665, 29.988943951, 27.786092417, 25.834054820]
    assert [fitted[k].wcss for k in range(2, 11)] == pytest.approx(best, rel=1e-6)


def test_published_ruspini_values(shared_data: Path):
    Z = np.loadtxt(shared_data / "known_k" / "ruspini.txt")[:, :2]
    fitted = engine.fit_k_range(Z, range(1, 11), seed=1)
    best = [89337.832142857, 51063.475045671, 12881.051236147, 10126.719788183, 8575.406876458]
    best += [7126.198543124, 6149.639019314, 5181.651839827, 4446.282142857]
    assert [fitted[k].wcss for k in range(2, 11)] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_best_known_values_of_the_mall_customers(shared_data: Path, seed: int):
    Z = pd.read_csv(shared_data / "Mall_Customers_Genre.csv").iloc[:, 3:5].to_numpy(float)
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    fitted = engine.fit_k_range(Z, range(1, 13), seed=seed)
    best = [269.016794, 157.704008, 108.921317, 65.568408, 55.057348, 44.864756, 37.148117]
    assert [fitted[k].wcss for k in range(2, 9)] == pytest.approx(best, rel=1e-6)
    assert sorted(np.bincount(fitted[5].labels)) == [22, 23, 35, 39, 81]


def test_never_worse_than_many_restarts():
    Z = np.random.default_rng(2).normal(size=(150, 4))
    fitted = engine.fit_k_range(Z, range(2, 9), seed=0)
    for k, clustering in fitted.items():
        restarts = KMeans(k, n_init=30, random_state=0).fit(Z).inertia_
        assert clustering.wcss <= restarts * (1 + 1e-9)


def test_no_single_move_of_a_row_lowers_the_wcss():
    Z = blobs(60, 2)
    clustering = engine.fit_k_range(Z, [5], seed=0)[5]
    for row in range(len(Z)):
        for j in range(5):
            labels = clustering.labels.copy()
            labels[row] = j
            groups = [Z[labels == c] for c in range(5) if (labels == c).any()]
            moved = sum(((g - g.mean(axis=0)) ** 2).sum() for g in groups)
            assert moved >= clustering.wcss * (1 - 1e-9)


def test_centers_come_in_lexicographic_order_and_labels_follow_them():
    Z = blobs()
    clustering = engine.fit_k_range(Z, [6], seed=0)[6]
    assert clustering.centers.tolist() == sorted(clustering.centers.tolist())
    assert np.array_equal(
        clustering.labels, ((Z[:, None] - clustering.centers) ** 2).sum(axis=2).argmin(axis=1)
    )


def test_only_the_asked_ks_return_in_order():
    assert list(engine.fit_k_range(blobs(), [5, 2, 3, 2], seed=0, effort="fast")) == [2, 3, 5]


def test_k_1_is_the_mean():
    Z = blobs()
    one = engine.fit_k_range(Z, [1], seed=0)[1]
    np.testing.assert_allclose(one.centers, Z.mean(axis=0)[None], rtol=1e-12)
    assert one.wcss == pytest.approx(((Z - Z.mean(axis=0)) ** 2).sum(), rel=1e-12)
    assert one.starts_at_best == len(one.starts) == 1


def test_starts_at_best_tells_easy_from_hard():
    easy = make_blobs(90, 2, centers=[[0, 0], [50, 0], [0, 50]], random_state=0)[0]
    three = engine.fit_k_range(easy, [3], seed=0)[3]
    assert three.starts_at_best == len(three.starts) >= 10
    noise = np.random.default_rng(0).uniform(size=(200, 6))
    ten = engine.fit_k_range(noise, [10], seed=0)[10]
    assert ten.starts_at_best < len(ten.starts)
    assert max(ten.starts) > min(ten.starts) >= ten.wcss * (1 - 1e-9)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_cluster_for_every_row_leaves_nothing(n: int):
    Z = np.array([[0.1, 7.3], [2.2, -1.7], [0.3, 1e6]])[:n]
    fitted = engine.fit_k_range(Z, range(1, n + 1), seed=0)
    assert fitted[n].wcss == 0.0
    assert sorted(fitted[n].labels) == list(range(n))


def test_constant_columns_change_nothing():
    Z = blobs()
    wide = np.column_stack([np.full(len(Z), 3.7), Z, np.zeros(len(Z))])
    narrow, padded = (engine.fit_k_range(a, [4], seed=0)[4] for a in (Z, wide))
    assert padded.wcss == pytest.approx(narrow.wcss, rel=1e-9)
    assert np.array_equal(padded.labels, narrow.labels)
    assert np.all(padded.centers[:, 0] == 3.7)


def test_constant_rows_have_one_cluster_only():
    Z = np.full((20, 2), 5.5)
    one = engine.fit_k_range(Z, [1], seed=0)[1]
    assert one.wcss == 0.0
    assert np.array_equal(one.centers, [[5.5, 5.5]])
    with pytest.raises(ConfigError, match=r"k=2 .* distinct rows \(1\)"):
        engine.fit_k_range(Z, [1, 2], seed=0)


def test_tiny_clusters_beside_a_huge_outlier_are_still_found():
    tight = np.random.default_rng(0).permutation(np.repeat([0.0, 1.0, 2.0, 3.0], 10))
    Z = np.r_[tight + np.linspace(0, 1e-3, 40), 1e9][:, None]
    fitted = engine.fit_k_range(Z, [5], seed=0)[5]
    assert fitted.wcss < 1e-4
    assert sorted(np.bincount(fitted.labels)) == [1, 10, 10, 10, 10]


@pytest.mark.parametrize("factor", [1e-160, 1e120])
def test_extreme_units_give_the_same_partition(factor: float):
    Z = blobs()
    plain, scaled = (engine.fit_k_range(a, [5], seed=0)[5] for a in (Z, Z * factor))
    np.testing.assert_allclose(scaled.centers, plain.centers * factor, rtol=1e-9)


def test_rows_of_weight_zero_are_labelled_but_count_nothing():
    Z = np.vstack([blobs(), [[500.0, 500.0, 500.0]]])
    weights = np.r_[np.ones(len(Z) - 1), 0.0]
    with_it = engine.fit_k_range(Z, [3], seed=0, sample_weight=weights)[3]
    without = engine.fit_k_range(Z[:-1], [3], seed=0)[3]
    assert np.array_equal(with_it.centers, without.centers)
    assert len(with_it.labels) == len(Z)


def test_improve_never_loses_and_keeps_the_order():
    Z = np.random.default_rng(5).uniform(size=(250, 6))
    fitted = engine.fit_k_range(Z, range(1, 11), seed=1, effort="fast")
    better = engine.improve(Z, fitted, 9, seed=1)
    assert list(better) == list(fitted)
    assert better[9].wcss < fitted[9].wcss
    assert len(better[9].starts) > len(fitted[9].starts)
    values = [c.wcss for c in better.values()]
    assert values == sorted(values, reverse=True)
    assert better[4] is fitted[4]


def test_improving_past_the_next_k_lifts_that_one_too():
    Z = blobs()
    left = engine.fit_k_range(Z, [2, 3], seed=0)
    for k in (4, 5):
        bad = Clustering(k, Z[:k].copy(), 0.0, (1.0,), left[3].assign)
        left[k] = replace(bad, wcss=wcss_of(Z, bad))
    assert left[4].wcss > left[3].wcss
    better = engine.improve(Z, left, 3, seed=0)
    assert better[2] is left[2]
    assert better[3].wcss > better[4].wcss > better[5].wcss
    for k in (4, 5):
        assert better[k].wcss == pytest.approx(wcss_of(Z, better[k]), rel=1e-9)


def test_clusterings_travel_between_processes():
    clustering = engine.fit_k_range(blobs(), [3], seed=0, effort="fast")[3]
    back = pickle.loads(pickle.dumps(clustering))
    assert np.array_equal(back.labels, clustering.labels)


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.fit_k_range(np.round(blobs(), 0), range(1, 12), seed=0, effort="fast")


@pytest.mark.parametrize(
    ("ks", "effort", "message"),
    [
        ([5, 9], "default", r"k=9 .* distinct rows \(4\)"),
        ([0, 1], "default", "at least 1"),
        ([], "default", "at least 1"),
        ([2], "extreme", "fast, default, thorough"),
    ],
)
def test_wrong_options_are_named(ks, effort, message):
    Z = np.repeat(np.arange(4.0), 3)[:, None]
    with pytest.raises(ConfigError, match=message):
        engine.fit_k_range(Z, ks, seed=0, effort=effort)


@pytest.mark.parametrize(
    ("Z", "weights", "message"),
    [
        (np.array([[1.0], [np.nan]]), None, "row 1, column 0"),
        (np.arange(3.0), None, "rows and columns"),
        (np.empty((0, 2)), None, "rows and columns"),
        (np.arange(3.0)[:, None], np.array([1.0, -1.0, 1.0]), "at least 0"),
        (np.arange(3.0)[:, None], np.ones(2), "3 finite numbers"),
        (np.arange(3.0)[:, None], np.zeros(3), "0 everywhere"),
    ],
)
def test_wrong_data_is_named(Z, weights, message):
    with pytest.raises(DataError, match=message):
        engine.fit_k_range(Z, [1], seed=0, sample_weight=weights)


def test_a_negative_seed_is_named():
    with pytest.raises(ConfigError, match="seed"):
        engine.fit_k_range(blobs(), [2], seed=-1)


def test_more_rows_than_the_search_sees():
    # Clusters of unequal size, the smallest 0.5 % of the rows.
    sizes = [4000, 3000, 1500, 60]
    Z, truth = make_blobs(sizes, 4, cluster_std=1.0, center_box=(-20, 20), random_state=2)
    fitted = engine.fit_k_range(Z, range(1, 7), seed=0, effort="fast")
    assert sorted(np.bincount(fitted[4].labels)) == sorted(sizes)
    assert len(set(zip(truth, fitted[4].labels, strict=True))) == 4
    values = [c.wcss for c in fitted.values()]
    assert values == sorted(values, reverse=True)
    order = np.random.default_rng(0).permutation(len(Z))
    shuffled = engine.fit_k_range(Z[order], [4], seed=0, effort="fast")[4]
    assert np.array_equal(shuffled.labels[np.argsort(order)], fitted[4].labels)


@pytest.mark.slow
def test_a_hundred_thousand_rows():
    Z = make_blobs(100_000, 8, centers=7, cluster_std=4.0, random_state=0)[0]
    fitted = engine.fit_k_range(Z, range(1, 13), seed=0)
    values = [c.wcss for c in fitted.values()]
    assert values == sorted(values, reverse=True)
    restarts = KMeans(7, n_init=5, random_state=0).fit(Z).inertia_
    assert fitted[7].wcss <= restarts * (1 + 1e-4)
    assert fitted[7].wcss == pytest.approx(wcss_of(Z, fitted[7]), rel=1e-9)


def test_starts_that_agree_need_no_generation(monkeypatch):
    X, _ = make_blobs(90, centers=3, cluster_std=0.1, random_state=0)
    rows, bred = WeightedRows(X - X.mean(axis=0), np.ones(90)), []
    monkeypatch.setattr(global_search, "evolve", lambda rows, pool, *_: bred.append(1) or pool)
    clear = global_search.search_one(rows, 3, {}, EFFORTS["default"], seed=0)
    assert not bred
    assert clear.best.wcss == pytest.approx(KMeans(3, n_init=10).fit(X).inertia_)
    # With more centres than groups every start splits others of them.
    global_search.search_one(rows, 8, {}, EFFORTS["default"], seed=0)
    assert bred


def test_the_last_of_a_batch_are_left_only_above_the_best_known():
    rows = _rugged()
    starts = global_search.plus_plus(rows, 10, 24, _rng())
    alone = local_search(rows, starts)
    beside = local_search(rows, starts, known=[min(alone, key=lambda s: s.wcss)])
    unlike = [(a.wcss, b.wcss) for a, b in zip(alone, beside, strict=True) if a.wcss != b.wcss]
    assert unlike, "no start was left"
    best = min(s.wcss for s in alone)
    # What came to the best still does, and nothing is left that would have been better.
    assert all(b > best for _, b in unlike)
    worse = replace(alone[0], wcss=2 * max(s.wcss for s in alone))
    again = local_search(rows, starts, known=[worse])
    assert [s.wcss for s in again] == pytest.approx([s.wcss for s in alone], rel=1e-12)


def test_no_start_of_lloyd_steps_alone_is_left_above_a_known_solution():
    """On the samples of large data such starts are told apart later, on more rows."""
    rows, lloyd = _rugged(), replace(EFFORTS["default"], hartigan=False)
    starts = global_search.plus_plus(rows, 10, 24, _rng())
    alone = global_search.local(lloyd, rows, starts)
    beside = global_search.local(lloyd, rows, starts, [min(alone, key=lambda s: s.wcss)])
    assert [s.wcss for s in beside] == [s.wcss for s in alone]


def _rugged() -> WeightedRows:
    """Rows without groups: at k = 10 nearly every start ends at a solution of its own."""
    X = np.random.default_rng(4).normal(size=(200, 2))
    return WeightedRows(X - X.mean(axis=0), np.ones(200))


def test_breeding_ends_once_others_have_come_to_the_best(monkeypatch):
    rows, effort, told = _rugged(), EFFORTS["thorough"], []
    first = global_search.merge(local_search(rows, global_search.plus_plus(rows, 10, 4, _rng())))
    original = global_search.local_search
    monkeypatch.setattr(
        global_search, "local_search", lambda *a, **k: told.append(1) or original(*a, **k)
    )
    generations, best = {}, {}
    for confirmed in (1, np.inf):
        told.clear()
        pool = global_search.evolve(
            rows, first, replace(effort, agreed=2.0, confirmed=confirmed), _rng()
        )
        generations[confirmed], best[confirmed] = len(told), pool[0].wcss
    assert generations[1] < generations[np.inf] == effort.rounds
    assert best[np.inf] <= best[1] < first[0].wcss


def test_a_start_that_settles_at_a_known_solution_is_left_there(monkeypatch):
    rows, tried = _rugged(), []
    found = local_search(rows, global_search.plus_plus(rows, 10, 8, _rng()))
    again = np.stack([solution.centers for solution in found])
    original = local.hartigan_moves
    monkeypatch.setattr(local, "hartigan_moves", lambda *a: tried.append(1) or original(*a))
    told = local_search(rows, again, known=found)
    assert not tried
    assert [s.wcss for s in told] == pytest.approx([s.wcss for s in found], rel=1e-12)
    local_search(rows, again, known=found[:1])
    assert tried


def test_the_centre_that_is_missed_least_moves():
    rows = _rugged()
    # Two centres in one place: either is not missed at all, the third is.
    centers = np.tile([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], (3000, 1, 1))
    moved = global_search.relocate(rows, centers, _rng())
    third_moved = (moved[:, 2] != centers[:, 2]).any(axis=1).mean()
    # Only where both draws name it.
    assert third_moved == pytest.approx(1 / 9, abs=0.03)
    assert ((moved != centers).any(axis=2).sum(axis=1) == 1).all()


def _rng() -> np.random.Generator:
    return np.random.default_rng(1)
