"""Metrics agree with scikit-learn and with published numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_samples

from segmentation.clustering import ENGINES
from segmentation.evaluation import dispersion, metrics, silhouette
from segmentation.runtime import blocks


def fitted(Z: np.ndarray, ks: range) -> tuple[dict, pd.DataFrame, silhouette.Silhouettes]:
    clusterings = ENGINES["sklearn"].fit_k_range(Z, ks, seed=0)
    measured = silhouette.silhouettes(Z, clusterings, seed=0)
    return clusterings, metrics.curve(Z, clusterings, measured), measured


def test_same_as_scikit_learn(frame) -> None:
    Z = frame[["age", "annual_income", "spending_score"]].to_numpy(dtype=float)
    clusterings, curve, measured = fitted(Z, range(1, 7))
    for k in range(2, 7):
        labels = clusterings[k].labels
        expected = silhouette_samples(Z, labels)
        np.testing.assert_allclose(measured.values[k], expected, atol=1e-9)
        assert curve.silhouette[k] == pytest.approx(expected.mean())
        assert curve.calinski_harabasz[k] == pytest.approx(calinski_harabasz_score(Z, labels))
        assert curve.davies_bouldin[k] == pytest.approx(davies_bouldin_score(Z, labels))
        shares = np.bincount(labels) / len(Z)
        assert curve.smallest_share[k] == pytest.approx(shares.min())
        assert curve.largest_share[k] == pytest.approx(shares.max())


def test_one_cluster_has_no_silhouette(frame) -> None:
    _, curve, measured = fitted(frame[["age"]].to_numpy(dtype=float), range(1, 3))
    assert 1 not in measured.values
    undefined = ["silhouette", "calinski_harabasz", "davies_bouldin"]
    assert curve.loc[1, undefined].isna().all()
    assert curve.explained_variance[1] == pytest.approx(0, abs=1e-12)


def test_every_customer_a_cluster_of_its_own() -> None:
    """k = n: silhouettes are 0 by convention, ratios that divide by n - k are not defined."""
    Z = np.array([[0.0], [1.0], [3.0], [7.0]])
    _, curve, _ = fitted(Z, range(1, 5))
    assert curve.silhouette[4] == 0
    assert np.isnan(curve.calinski_harabasz[4])
    assert curve.explained_variance[4] == pytest.approx(1)


@given(arrays(float, (12, 2), elements=st.integers(-5, 5)))
@settings(max_examples=25, deadline=None)
def test_silhouettes_of_ties_are_scikit_learns(Z: np.ndarray) -> None:
    if len(np.unique(Z, axis=0)) < 4:
        return
    clusterings, _, measured = fitted(Z, range(1, 4))
    for k in (2, 3):
        expected = silhouette_samples(Z, clusterings[k].labels)
        np.testing.assert_allclose(measured.values[k], expected, atol=1e-9)


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_sums_of_squares_split_into_within_and_between(seed: int, k: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, 70)]).astype(np.int32)
    Z = rng.gamma(2.0, 1.0, (len(labels), d)) + 10.0 * labels[:, None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "PART_ROWS", 17)
        found = dispersion.scatter(Z, labels, k)
    np.testing.assert_allclose(found.total, len(Z) * Z.var(axis=0))
    between = found.sizes @ (found.means - found.center) ** 2
    np.testing.assert_allclose(found.within + between, found.total)
    np.testing.assert_allclose(found.means[0], Z[labels == 0].mean(axis=0))


def test_single_precision_changes_nothing_that_shows() -> None:
    Z = np.random.default_rng(0).standard_t(3, size=(2500, 4)) * [1.0, 1e6, 1e-6, 1.0] + 1e3
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    clusterings, curve, measured = fitted(Z, range(1, 6))
    assert len(Z) > silhouette.SILHOUETTES.double_precision_rows
    for k in range(2, 6):
        expected = silhouette_samples(Z, clusterings[k].labels)
        np.testing.assert_allclose(measured.values[k], expected, atol=1e-4)
        assert curve.silhouette[k] == pytest.approx(expected.mean(), abs=1e-6)


def test_large_data_is_sampled_with_its_error(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    # The last cluster is so small that a sample of 600 of 1,820 holds seven of its customers.
    Z = np.concatenate([rng.normal(at, 1, (n, 2)) for at, n in ((0, 900), (6, 900), (30, 20))])
    clusterings, exact, _ = fitted(Z, range(1, 4))
    assert exact.silhouette_se.isna().all()
    few = replace(silhouette.SILHOUETTES, rows=600, sample=600)
    monkeypatch.setattr(silhouette, "SILHOUETTES", few)
    _, sampled, measured = fitted(Z, range(1, 4))
    assert measured.sampled
    for k in (2, 3):
        assert abs(sampled.silhouette[k] - exact.silhouette[k]) < 4 * sampled.silhouette_se[k]
        assert 0 < sampled.silhouette_se[k] < 0.02
    small = np.flatnonzero(clusterings[3].sizes == 20)
    assert (measured.labels[3] == small).sum() == 20
    order = rng.permutation(len(Z))
    _, shuffled, _ = fitted(Z[order], range(1, 4))
    assert shuffled.silhouette[3] == pytest.approx(sampled.silhouette[3], abs=1e-6)
