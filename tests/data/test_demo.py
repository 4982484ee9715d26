from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from segmentation.data.customers import from_frame
from segmentation.data.demo import generate_customers
from segmentation.errors import ConfigError


@pytest.mark.parametrize("n", [2, 7, 200, 12_000])
def test_customers_are_plausible_at_every_size(n: int) -> None:
    frame = generate_customers(n, seed=3)
    assert list(frame) == ["customer_id", "gender", "age", "annual_income", "spending_score"]
    assert len(frame) == n
    assert frame["customer_id"].is_unique
    assert frame["customer_id"][0] == ("00001" if n >= 10_000 else "0001")
    assert set(frame["gender"]) <= {"Female", "Male"}
    assert frame["age"].between(18, 70).all()
    assert frame["annual_income"].between(15, 140).all()
    assert frame["spending_score"].between(1, 100).all()
    assert [str(kind) for kind in frame.dtypes[2:]] == ["int64"] * 3


def test_the_seed_decides() -> None:
    pd.testing.assert_frame_equal(generate_customers(50, 1), generate_customers(50, 1))
    assert not generate_customers(50, 1).equals(generate_customers(50, 2))


@pytest.mark.parametrize("seed", range(5))
def test_five_overlapping_groups_are_there_to_be_found(seed: int) -> None:
    frame = generate_customers(200, seed)
    Z = StandardScaler().fit_transform(frame[["annual_income", "spending_score"]])
    labels = {k: KMeans(k, n_init=10, random_state=0).fit_predict(Z) for k in range(2, 9)}
    silhouettes = {k: silhouette_score(Z, label) for k, label in labels.items()}
    assert max(silhouettes, key=lambda k: silhouettes[k]) == 5
    assert 0.45 < silhouettes[5] < 0.65  # there, and not cut out with scissors
    assert 0.3 < np.bincount(labels[5]).max() / 200 < 0.5


def test_no_value_piles_up_at_the_limits() -> None:
    frame = generate_customers(20_000, 0)
    for column in ("age", "annual_income", "spending_score"):
        counts = frame[column].value_counts()
        assert counts[frame[column].min()] < 3 * counts.median()
        assert counts[frame[column].max()] < 3 * counts.median()


def test_they_are_customers_as_read_from_a_file() -> None:
    customers = from_frame(generate_customers(), source="demo")
    assert customers.source == "demo"
    assert customers.ids[0] == "0001"
    assert list(customers.frame) == ["gender", "age", "annual_income", "spending_score"]


@pytest.mark.parametrize(("n", "seed"), [(1, 0), (-5, 0), (10, -1)])
def test_impossible_sizes_and_seeds_are_refused(n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="is not allowed"):
        generate_customers(n, seed)
