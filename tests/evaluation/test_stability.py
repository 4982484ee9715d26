"""Segments that come back are stable, segments cut out of one cloud are not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from segmentation.clustering import ENGINES
from segmentation.clustering.base import Clustering
from segmentation.evaluation import stability
from segmentation.evaluation.measure_settings import STABILITY
from segmentation.evaluation.stability import bootstrap_stability


def fit(Z: np.ndarray, k: int) -> Clustering:
    return ENGINES["sklearn"].fit_k_range(Z, [k], seed=0)[k]


def test_separate_groups_are_very_stable() -> None:
    rng = np.random.default_rng(0)
    Z = np.concatenate([center + rng.normal(size=(40, 2)) for center in ([0, 0], [20, 0], [0, 20])])
    found = bootstrap_stability(Z, fit(Z, 3), seed=0, n_boot=50)
    assert found.status == ("very stable",) * 3
    assert found.stability > 0.99
    assert found.ari > 0.99
    np.testing.assert_array_equal(found.recovered, [50] * 3)
    np.testing.assert_array_equal(found.dissolved, [0] * 3)


def test_one_cloud_cut_in_eight_is_not_stable() -> None:
    Z = np.random.default_rng(1).normal(size=(200, 2))
    found = bootstrap_stability(Z, fit(Z, 8), seed=0)
    assert found.stability < 0.75
    assert found.status[found.weakest] in {"dissolved", "doubtful"}
    assert found.ari < 0.8


def test_a_real_segment_is_told_from_an_arbitrary_cut() -> None:
    rng = np.random.default_rng(2)
    far = rng.normal(60.0, 1.0, size=(50, 2))
    Z = np.concatenate([rng.normal(size=(150, 2)) * [3.0, 3.0], far])
    clustering = fit(Z, 5)
    found = bootstrap_stability(Z, clustering, seed=0)
    real = int(np.argmax(clustering.centers.sum(axis=1)))
    assert found.jaccard[real] == pytest.approx(1.0)
    assert found.stability < 0.75


def test_the_interval_holds_what_other_seeds_find() -> None:
    """Its upper end leaves about one seed in twenty above it."""
    Z = np.random.default_rng(1).normal(size=(150, 2))
    clustering = fit(Z, 4)
    many = bootstrap_stability(Z, clustering, seed=99, n_boot=2_000)
    found = [bootstrap_stability(Z, clustering, seed=seed) for seed in range(20)]
    assert all(each.stability < each.high <= 1 for each in found)
    assert sum(each.high >= many.jaccard.min() for each in found) >= 16
    assert sum(each.stability > many.high + 0.02 for each in found) <= 2
    assert bootstrap_stability(Z, clustering, seed=0, n_boot=1).high <= 1


def test_one_segment_is_always_recovered() -> None:
    Z = np.random.default_rng(0).normal(size=(30, 2))
    found = bootstrap_stability(Z, fit(Z, 1), seed=0, n_boot=10)
    assert found.jaccard.tolist() == [1.0]
    assert found.ari == 1.0


def test_same_seed_same_bits_and_row_order_does_not_matter() -> None:
    Z = np.random.default_rng(3).normal(size=(80, 2))
    clustering = fit(Z, 4)
    first = bootstrap_stability(Z, clustering, seed=5, n_boot=20)
    again = bootstrap_stability(Z, clustering, seed=5, n_boot=20)
    other = bootstrap_stability(Z[::-1].copy(), clustering, seed=5, n_boot=20)
    assert first.as_dict() == again.as_dict() == other.as_dict()
    json.dumps(first.as_dict(), allow_nan=False)


def test_a_segment_of_one_customer_has_a_defined_value() -> None:
    Z = np.random.default_rng(4).normal(size=(40, 2))
    Z[7] = [100.0, 100.0]
    found = bootstrap_stability(Z, fit(Z, 2), seed=1)
    # It is drawn in about 63 % of the bootstraps, and only there can it be found.
    assert found.jaccard.min() == pytest.approx(0.63, abs=0.12)
    assert found.status[found.weakest] == "doubtful"


def test_large_data_are_sampled_and_say_so() -> None:
    Z = np.random.default_rng(5).normal(size=(STABILITY.rows + 500, 2))
    Z[: len(Z) // 2] += 20
    found = bootstrap_stability(Z, fit(Z, 2), seed=0, n_boot=5)
    assert found.rows == STABILITY.rows
    assert found.stability > 0.99


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40),
)
def test_adjusted_rand_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    first, second = np.array(pairs).T
    ours = stability.adjusted_rand(first[None], second[None], 4)[0]
    assert ours == pytest.approx(adjusted_rand_score(first, second))
