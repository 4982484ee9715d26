"""The table of evidence, the k it leads to, and how sure it is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

from segmentation.clustering import ENGINES
from segmentation.evaluation import metrics
from segmentation.evaluation.silhouette import silhouettes
from segmentation.selection import criteria
from segmentation.selection.evidence import Evidence, gather

Array = NDArray[np.float64]


def evidence(Z: Array, k_max: int = 8, k_min: int = 1, seed: int = 0) -> Evidence:
    clusterings = ENGINES["sklearn"].fit_k_range(Z, range(1, k_max + 1), seed=0)
    curve = metrics.curve(Z, clusterings, silhouettes(Z, clusterings, seed=0))
    return gather(Z, clusterings, curve, seed=seed, k_min=k_min)


def groups(k: int, n: int = 40, spread: float = 1.0, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(k) / k
    centers = 4 * k / np.pi * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.concatenate([center + spread * rng.normal(size=(n, 2)) for center in centers])


@pytest.mark.parametrize("k", [2, 3, 5, 7])
def test_clear_groups_are_counted_and_agreed(k: int) -> None:
    found = evidence(groups(k), k + 2)
    assert found.k == k
    assert found.confidence == "agreed"
    assert found.agreeing >= 3
    assert found.gap is None or found.gap_se is not None
    # Two groups side by side differ in one column, which the null has as well.
    if k > 2:
        assert found.gap is not None
        assert found.gap > 3


def test_heavy_tailed_groups_are_counted() -> None:
    rng = np.random.default_rng(4)
    centers = np.array([[0.0, 0.0], [14.0, 0.0], [0.0, 14.0], [14.0, 14.0]])
    Z = np.concatenate([center + rng.standard_t(5, (60, 2)) for center in centers])
    assert evidence(Z, 6).k == 4


@pytest.mark.parametrize("scale", [False, True])
def test_mall_customers_are_five_segments(shared_data: Path, scale: bool) -> None:
    frame = pd.read_csv(shared_data / "Mall_Customers_Gender.csv")
    Z = frame.iloc[:, [3, 4]].to_numpy(dtype=float)
    if scale:
        Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    found = evidence(Z, 12)
    assert found.gate.structure
    assert found.k == 5
    assert found.confidence == "agreed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "k", "scale"),
    [("hepta", 7, False), ("tetra", 4, False), ("twodiamonds", 2, False), ("wine", 3, True)],
)
def test_known_sets(shared_data: Path, name: str, k: int, scale: bool) -> None:
    Z = np.loadtxt(shared_data / "known_k" / f"{name}.data.gz")
    if scale:
        Z = (Z - Z.mean(axis=0)) / Z.std(axis=0)
    assert evidence(Z, 12).k == k


def test_no_structure_is_k_1_without_confidence() -> None:
    found = evidence(np.random.default_rng(0).normal(size=(150, 3)), 5)
    assert found.k == 1
    assert found.confidence is None
    assert found.picks == {}
    # Still measured, so that the reader sees why.
    assert found.table["icl"].notna().all()


def test_k_min_limits_the_choice() -> None:
    found = evidence(groups(3), 6, k_min=4)
    assert found.k >= 4


def test_table_and_json_have_no_nan() -> None:
    found = evidence(groups(3), 6)
    assert list(found.table.index) == [1, 2, 3, 4, 5, 6]
    assert found.table.loc[2:].notna().all().all()
    text = json.dumps(found.as_dict(), allow_nan=False)
    read = json.loads(text)
    assert read["table"][0]["silhouette"] is None
    assert read["rows"]["gap"] == 120
    low, high = found.null_bands["silhouette"]
    assert (low <= high).all()


@pytest.mark.parametrize(
    ("Z", "k_max"),
    [
        (np.random.default_rng(0).normal(size=(6, 2)), 4),
        (np.ones((20, 2)), 1),
        (np.random.default_rng(0).normal(size=(11, 1)), 9),
        (np.random.default_rng(0).integers(0, 2, (60, 2)).astype(float), 4),
    ],
    ids=["n=6", "equal rows", "k near n", "two values a column"],
)
def test_degenerate_data_give_defined_values(Z: Array, k_max: int) -> None:
    found = evidence(Z, k_max)
    json.dumps(found.as_dict(), allow_nan=False)
    assert 1 <= found.k <= k_max
    assert found.gate.reason


def test_same_seed_same_evidence_and_row_order_does_not_matter() -> None:
    Z = groups(4, 30, spread=1.6)
    order = np.random.default_rng(1).permutation(len(Z))
    first = evidence(Z, 5)
    pd.testing.assert_frame_equal(first.table, evidence(Z, 5).table, check_exact=True)
    other = evidence(np.ascontiguousarray(Z[order]), 5)
    own = ["icl", "gap", "gap_se", "prediction_strength", "dip_p"]
    pd.testing.assert_frame_equal(first.table[own], other.table[own])
    assert first.picks == other.picks


def test_icl_of_one_group_is_the_bic_of_one_gaussian() -> None:
    Z = np.random.default_rng(0).normal(size=(200, 2)) @ np.array([[2.0, 1.0], [0.0, 1.0]])
    table = criteria.icl(Z, ENGINES["sklearn"].fit_k_range(Z, [1, 2], seed=0), seed=0)
    assert table["icl"][1] == pytest.approx(table["bic"][1])
    # The 3 % most isolated rows are left out: fewer rows, and closer ones.
    assert table["bic"][1] < GaussianMixture(1).fit(Z).bic(Z)
    assert (table["icl"] >= table["bic"] - 1e-9).all()


def test_prediction_strength_is_1_for_one_group_and_for_clear_groups() -> None:
    strength = criteria.prediction_strength(groups(3), [1, 2, 3, 4, 5], seed=0)
    assert strength[1] == 1.0
    assert strength[3] > 0.99
    assert strength[5] < 0.8
    assert criteria.largest_strong(strength) == 3


def test_gap_of_gaussian_data_is_near_zero() -> None:
    table = criteria.gap(np.random.default_rng(0).normal(size=(300, 3)), [1, 2, 4], seed=0)
    assert (table["gap"].abs() < 3 * table["gap_se"]).all()


def test_picks_of_small_tables() -> None:
    values = pd.Series([np.nan, 3.0, 5.0, 5.0, 1.0], index=[1, 2, 3, 4, 5])
    assert criteria.highest(values) == 3
    assert criteria.lowest(values) == 5
    assert criteria.highest(values[:1]) is None
    errors = pd.Series(0.5, index=values.index)
    # 3.0 < 5.0 - 0.5 goes on; 5.0 >= 5.0 - 0.5 stops.
    assert criteria.first_gap(values, errors) == 3
    assert criteria.largest_strong(pd.Series([1.0, 0.79, 0.8, 0.1], index=[1, 2, 3, 4])) == 3
    assert criteria.largest_strong(pd.Series([0.1], index=[2])) is None


def test_the_end_of_the_range_is_never_agreed() -> None:
    """Five groups and k.max=3: nobody can know that 3 is right."""
    from segmentation import segment
    from segmentation.data.demo import generate_customers

    columns = ["annual_income", "spending_score"]
    result = segment(generate_customers(), features=columns, k_max=3)
    assert (result.k, result.confidence) == (3, "contested")
    assert "raise k.max" in result.choice.verdict
    assert segment(generate_customers(), features=columns).confidence == "agreed"
