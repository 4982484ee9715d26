"""Structure is found where there are groups, and not where there are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from segmentation.clustering import ENGINES
from segmentation.evaluation import sampling
from segmentation.selection import cluster_tendency, null_models

Array = NDArray[np.float64]


def verdict(Z: Array, k_max: int = 6, seed: int = 0) -> cluster_tendency.Gate:
    return cluster_tendency.find_structure(
        Z, ENGINES["sklearn"].fit_k_range(Z, range(1, k_max + 1), seed=0), seed=seed
    )


def blobs(n: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    centers = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    return np.concatenate([center + rng.normal(size=(n, 2)) for center in centers])


@pytest.fixture
def mall(shared_data: Path) -> Array:
    frame = pd.read_csv(shared_data / "Mall_Customers_Gender.csv")
    X = frame.iloc[:, [3, 4]].to_numpy(dtype=float)
    return (X - X.mean(axis=0)) / X.std(axis=0)


STRUCTURELESS: dict[str, Callable[[np.random.Generator], Array]] = {
    "uniform": lambda rng: rng.random((200, 2)),
    "gaussian": lambda rng: rng.normal(size=(200, 3)),
    "lognormal": lambda rng: np.exp(rng.normal(size=(200, 3))),
    "heavy tails": lambda rng: rng.standard_t(3, (200, 3)),
    "integers": lambda rng: rng.integers(0, 20, (200, 2)).astype(float),
    "few integers": lambda rng: rng.integers(1, 6, (200, 3)).astype(float),
    "correlated": lambda rng: rng.normal(size=(200, 2)) @ np.array([[2.0, 1.0], [0.0, 0.4]]),
}


@pytest.mark.parametrize("family", STRUCTURELESS)
def test_no_structure_in_data_without_groups(family: str) -> None:
    found = verdict(STRUCTURELESS[family](np.random.default_rng(11)))
    assert not found.structure
    assert found.by is None
    assert "dip" in found.reason


def test_separated_groups_are_found_by_the_dip() -> None:
    found = verdict(blobs(60))
    assert found.structure
    assert found.by == "dip"
    assert found.dip_p[3] < 0.01


def test_mall_customers_have_structure_that_only_the_silhouette_sees(mall: Array) -> None:
    found = verdict(mall, 6)
    assert found.by == "silhouette"
    assert found.silhouette is not None
    assert found.silhouette > max(found.null_silhouette.values())


def test_same_seed_same_verdict_and_row_order_does_not_matter() -> None:
    Z = blobs(40)
    shuffled = Z[np.random.default_rng(1).permutation(len(Z))]
    clusterings = ENGINES["sklearn"].fit_k_range(Z, range(1, 6), seed=0)
    first = cluster_tendency.find_structure(Z, clusterings, seed=3)
    again = cluster_tendency.find_structure(Z, clusterings, seed=3)
    other = cluster_tendency.find_structure(shuffled, clusterings, seed=3)
    assert first.as_dict() == again.as_dict() == other.as_dict()


@pytest.mark.parametrize(
    ("Z", "words"),
    [
        (np.random.default_rng(0).normal(size=(9, 2)), "only 9 customers"),
        (np.ones((30, 2)), "all customers are equal"),
    ],
)
def test_what_cannot_be_tested_has_a_named_reason(Z: Array, words: str) -> None:
    ks = range(1, min(4, len(np.unique(Z, axis=0))) + 1)
    found = cluster_tendency.find_structure(
        Z, ENGINES["sklearn"].fit_k_range(Z, ks, seed=0), seed=0
    )
    assert not found.structure
    assert words in found.reason


def test_only_k_1_has_a_named_reason() -> None:
    Z = blobs(20)
    found = cluster_tendency.find_structure(
        Z, ENGINES["sklearn"].fit_k_range(Z, [1], seed=0), seed=0
    )
    assert not found.structure
    assert "only k=1" in found.reason


def test_a_constant_column_changes_nothing() -> None:
    Z = blobs(30)
    with_constant = np.column_stack([Z, np.full(len(Z), 7.0)])
    assert verdict(with_constant, 4).as_dict() == verdict(Z, 4).as_dict()


@pytest.mark.parametrize(("n", "d"), [(10, 1), (12, 2), (15, 20), (60, 1)])
def test_small_and_wide_data_give_defined_values(n: int, d: int) -> None:
    found = verdict(np.random.default_rng(5).normal(size=(n, d)), 9)
    assert found.silhouette is not None
    assert np.isfinite(found.silhouette)
    assert all(0 <= p <= 1 for p in found.dip_p.values())
    assert np.isfinite(found.bands.to_numpy()).all()


def test_a_lone_outlier_is_no_structure() -> None:
    Z = np.random.default_rng(2).normal(size=(150, 2))
    Z[0] = [40.0, 40.0]
    assert not verdict(Z).structure


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=60), st.integers(0, 5))
def test_unround_stays_within_half_a_step_and_keeps_the_order(values: list[int], seed: int) -> None:
    column = np.array(values, dtype=float)
    spread = sampling.unround(column[:, None], seed)[:, 0]
    distinct = np.unique(column)
    if len(distinct) == 1:
        np.testing.assert_array_equal(spread, column)
        return
    for value in distinct:
        gap = np.abs(distinct[distinct != value] - value).min()
        assert np.abs(spread[column == value] - value).max() <= gap / 2
    lower = column[:, None] < column[None, :]
    assert (spread[:, None] <= spread[None, :])[lower].all()


def test_unround_leaves_values_without_ties_alone() -> None:
    Z = np.random.default_rng(0).normal(size=(50, 3))
    np.testing.assert_array_equal(sampling.unround(Z, 0), Z)


def test_sample_is_the_same_set_of_rows_whatever_their_order() -> None:
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(500, 3))
    shuffled = Z[rng.permutation(500)]
    first = Z[sampling.sample_rows(Z, 80, 4)]
    second = shuffled[sampling.sample_rows(shuffled, 80, 4)]
    assert len(first) == 80
    np.testing.assert_array_equal(first, second)


def test_a_kept_draw_of_many_rows_is_that_of_the_same_rows(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(900, 3)), rng.normal(size=(900, 3))
    limits = (80, 300, 250)
    plain = [sampling.sample_rows(first, limit, 4) for limit in limits]
    monkeypatch.setattr(sampling, "SAMPLING", replace(sampling.SAMPLING, many_rows=500, kept=250))
    for limit, rows in zip(limits, plain, strict=True):
        np.testing.assert_array_equal(sampling.sample_rows(first, limit, 4), rows)
    assert not np.array_equal(sampling.sample_rows(first, 80, 5), plain[0])
    assert not np.array_equal(sampling.sample_rows(other, 80, 4), plain[0])
    np.testing.assert_array_equal(sampling.sample_rows(first, 80, 4), plain[0])


@pytest.mark.parametrize("name", ["permuted", "copula"])
def test_nulls_of_the_columns_keep_their_values(name: str) -> None:
    X = np.exp(np.random.default_rng(0).normal(size=(40, 3)))
    draws = null_models.NULLS[name].draw(X, 4, np.random.default_rng(1))
    assert draws.shape == (4, 40, 3)
    for draw in draws:
        np.testing.assert_allclose(np.sort(draw, axis=0), np.sort(X, axis=0))


def test_copula_keeps_rank_correlation_and_permuted_does_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=800)
    X = np.exp(np.column_stack([x, 0.8 * x + 0.6 * rng.normal(size=800)]))
    own = spearmanr(X)[0]
    kept = spearmanr(null_models.copula(X, 1, rng)[0])[0]
    lost = spearmanr(null_models.permuted(X, 1, rng)[0])[0]
    assert kept == pytest.approx(own, abs=0.06)
    assert abs(lost) < 0.15


def test_gaussian_null_keeps_the_principal_variances() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2)) @ np.array([[3.0, 1.0], [0.0, 0.5]])
    draw = null_models.gaussian(X, 1, rng)[0]
    expected = np.linalg.eigvalsh(np.cov(X.T))[::-1]
    np.testing.assert_allclose(draw.var(axis=0), expected, rtol=0.15)
