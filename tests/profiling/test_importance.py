"""Which features matter: shares that add up, and a warning when one does it all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from segmentation import segment
from segmentation.data.demo import generate_customers
from segmentation.features.feature_set import FeatureSet
from segmentation.profiling.importance import importance

CUSTOMERS = generate_customers(200)


def test_a_gender_split_is_called_one() -> None:
    features = FeatureSet(columns=("gender", "age"))
    result = segment(CUSTOMERS, features=features, scaling="minmax", choice="fixed", k=2, k_max=2)
    assert result.importance is not None
    assert result.importance.table["feature"][0] == "gender"
    warning = result.importance.warning
    assert warning is not None
    assert "split by gender" in warning
    assert "scaling=minmax" in warning


def test_an_unscaled_column_of_large_numbers_is_called_out() -> None:
    frame = CUSTOMERS.assign(annual_income=CUSTOMERS["annual_income"] * 1000)
    columns = ["annual_income", "spending_score"]
    raw = segment(frame, features=columns, scaling="none", choice="fixed", k=4, k_max=4)
    assert raw.importance is not None
    assert raw.importance.warning is not None
    assert "annual_income alone accounts for 100 %" in raw.importance.warning
    scaled = segment(frame, features=columns, choice="fixed", k=4, k_max=4)
    assert scaled.importance is not None
    assert scaled.importance.warning is None


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_shares_add_up_and_noise_moves_nobody(seed: int, k: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, 80)]).astype(np.int32)
    Z = np.column_stack([rng.normal(0, 3, (k, d))[labels] + rng.normal(0, 0.3, (len(labels), d))])
    Z = np.column_stack([Z, np.full(len(labels), 1.0)])
    centers = np.array([Z[labels == j].mean(axis=0) for j in range(k)])
    sources = [f"x{j}" for j in range(d)] + ["constant"]
    found = importance(
        Z, labels, centers, sources, rows=np.arange(len(Z)), scaling="none", seed=seed
    )
    table = found.table.set_index("feature")
    assert table["distance_share"].sum() == pytest.approx(1)
    assert table["separation_share"].sum() == pytest.approx(1)
    assert table.loc["constant", ["distance_share", "separation_share", "moved"]].tolist() == [
        0,
        0,
        0,
    ]
    total = ((Z - Z.mean(axis=0)) ** 2).sum()
    within = ((Z - centers[labels]) ** 2).sum()
    shares = table["distance_share"] * table["explained"].fillna(0)
    assert shares.sum() == pytest.approx(1 - within / total)
    assert found.table["separation_share"].round(9).is_monotonic_decreasing
    assert found.table["moved"].between(0, 1).all()


def test_the_columns_of_a_category_count_as_one_feature() -> None:
    features = FeatureSet(columns=("gender", "age"), weights={"age": 2.0})
    result = segment(CUSTOMERS, features=features, choice="fixed", k=3, k_max=3)
    assert result.importance is not None
    assert set(result.importance.table["feature"]) == {"gender", "age"}
    assert result.importance.table.set_index("feature").loc["age", "distance_share"] == (
        pytest.approx(4 / 4.5, rel=0.01)
    )


def test_one_segment_has_distances_and_no_separation() -> None:
    result = segment(CUSTOMERS, choice="fixed", k=1, k_max=2)
    assert result.importance is not None
    assert result.importance.warning is None
    assert result.importance.table["distance_share"].sum() == pytest.approx(1)
    assert result.importance.table["separation_share"].isna().all()


def test_a_scaling_that_mixes_columns_has_no_importance_and_no_error() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc"))
    result = segment(frame, scaling=PCA(2), choice="fixed", k=2, k_max=2)
    assert result.importance is None
    assert result.rules is not None
