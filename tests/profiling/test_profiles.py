"""Profiles: in the customers' units, with effects whose intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from segmentation.evaluation.formats import in_units
from segmentation.profiling.profiles import (
    MOST_CATEGORIES,
    OTHER_VALUES,
    profile,
    share_intervals,
)
from segmentation.runtime import blocks

FRAME = pd.DataFrame(
    {
        "age": [20, 22, 24, 60, 62, 64],
        "spend": [10.0, 30.0, 50.0, 10.0, 30.0, 50.0],
        "gender": ["f", "f", "m", "m", "m", "m"],
    }
)
LABELS = np.array([0, 0, 0, 1, 1, 1], dtype=np.int32)


def row(table: pd.DataFrame, segment: int, feature: str) -> pd.Series:
    return table[(table["segment"] == segment) & (table["feature"] == feature)].iloc[0]


def test_profile_is_in_the_customers_units() -> None:
    table = profile(FRAME, LABELS)
    young = row(table, 0, "age")
    assert (young["mean"], young["median"], young.q25, young.q75) == (22, 22, 21, 23)
    assert (young.everybody, young.difference) == (42, -40)
    assert young.z == pytest.approx((22 - FRAME.age.mean()) / FRAME.age.std(ddof=0))
    shares = table[table["feature"] == "gender"].set_index(["segment", "category"])
    assert shares.share[(0, "f")] == pytest.approx(2 / 3)
    assert shares.share[(1, "m")] == 1
    assert shares.everybody[(0, "f")] == pytest.approx(1 / 3)
    assert shares.difference[(0, "f")] == pytest.approx(2 / 3)


def test_cohens_d_is_the_difference_over_the_pooled_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(3, 2, 40), rng.exponential(1, 60), rng.normal(0, 1, 50)])
    labels = np.repeat([0, 1, 2], [40, 60, 50]).astype(np.int32)
    table = profile(pd.DataFrame({"x": values * 1000 + 1e6}), labels)
    for segment in range(3):
        own, others = values[labels == segment], values[labels != segment]
        n = len(own), len(others)
        pooled = ((n[0] - 1) * own.var(ddof=1) + (n[1] - 1) * others.var(ddof=1)) / (sum(n) - 2)
        expected = (own.mean() - others.mean()) / np.sqrt(pooled)
        assert row(table, segment, "x").effect == pytest.approx(expected)


@pytest.mark.parametrize("n_own", [8, 30, 200])
def test_the_interval_of_d_holds_the_true_d(n_own: int) -> None:
    """Skewed customers, unequal groups: about 95 of 100 intervals must hold the truth."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [n_own, 400 - n_own]).astype(np.int32)
    # Gamma(4): mean 4, variance 4; the pooled variance is the same in both groups.
    truth, trials, held = 1.0, 300, 0
    for _ in range(trials):
        values = rng.gamma(4, 1, 400) + np.where(labels == 0, 2 * truth, 0.0)
        found = row(profile(pd.DataFrame({"x": values}), labels), 0, "x")
        held += found.effect_low <= truth <= found.effect_high
    assert held / trials > 0.9


def test_cramers_v_is_one_for_a_split_and_about_zero_for_noise() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 2000).astype(np.int32)
    frame = pd.DataFrame(
        {"split": np.where(labels == 0, "a", "b"), "noise": rng.integers(0, 20, 2000).astype(str)}
    )
    table = profile(frame, labels)
    assert row(table, 0, "split").effect == pytest.approx(1, abs=1e-3)
    noise = row(table, 0, "noise")
    assert noise.effect < 0.06
    assert noise.effect_low < 0.03


def test_the_interval_of_v_holds_the_true_v() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], [80, 220]).astype(np.int32)
    chances = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])
    joint = np.array([80, 220])[:, None] / 300 * chances
    expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
    truth = np.sqrt(((joint - expected) ** 2 / expected).sum())
    trials, held = 150, 0
    for _ in range(trials):
        values = np.array(["a", "b", "c"])[
            (rng.random(300)[:, None] > chances.cumsum(axis=1)[labels]).sum(axis=1)
        ]
        found = row(profile(pd.DataFrame({"c": values}), labels), 0, "c")
        held += found.effect_low <= truth <= found.effect_high
    assert held / trials > 0.9


def test_what_has_no_effect_size_has_none() -> None:
    everybody = profile(FRAME, np.zeros(6, dtype=np.int32))
    assert everybody["effect"].isna().all()
    assert everybody["difference"].isna().all()
    alone = row(profile(FRAME, np.array([0, 0, 0, 0, 0, 1], dtype=np.int32)), 1, "age")
    assert np.isfinite(alone.effect)
    assert np.isnan(alone.effect_low)
    flat = profile(pd.DataFrame({"x": [1, 1, 1, 2, 2, 2]}), LABELS)
    assert flat["effect"].isna().all()


def test_rare_values_of_a_wordy_column_are_told_together() -> None:
    frame = pd.DataFrame({"town": [f"town {i % 200}" for i in range(1000)] + ["Berlin"] * 50})
    labels = np.arange(len(frame)) % 2
    table = profile(frame, labels.astype(np.int32))
    assert table["category"].nunique() == MOST_CATEGORIES
    assert {"Berlin", OTHER_VALUES} <= set(table["category"])
    assert table.groupby("segment")["share"].sum().to_numpy() == pytest.approx(1)


@given(st.integers(0, 2**31), st.integers(1, 6), st.sampled_from(["round", "skewed", "same"]))
@settings(max_examples=40, deadline=None)
def test_laws_of_a_profile(seed: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, 60)]).astype(np.int32)
    x = {
        "round": rng.integers(0, 5, len(labels)).astype(float),
        "skewed": np.exp(3 * rng.normal(size=len(labels))),
        "same": np.full(len(labels), 7.0),
    }[kind]
    frame = pd.DataFrame({"x": x, "c": rng.choice(list("abc"), len(labels))})
    table = profile(frame, labels)
    numbers = table[table["feature"] == "x"]
    sizes = np.bincount(labels)
    assert float(numbers["mean"] @ sizes / sizes.sum()) == pytest.approx(x.mean())
    # A ridit over everybody is one half; so is their mean over the segments.
    assert float(numbers["standing"] @ sizes / sizes.sum()) == pytest.approx(0.5)
    assert numbers["standing"].between(0, 1).all()
    effects = table.dropna(subset=["effect", "effect_low"])
    assert (effects["effect_low"] <= effects["effect"] + 0.2).all()
    assert (effects["effect_low"] <= effects["effect_high"]).all()
    order = rng.permutation(len(labels))
    again = profile(frame.iloc[order].reset_index(drop=True), labels[order])
    pd.testing.assert_frame_equal(table, again, rtol=1e-6, atol=1e-9)


@given(
    arrays(np.float64, st.integers(1, 200), elements=st.integers(-3, 3) | st.floats(-1e9, 1e9)),
    st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_standing_is_the_mean_ridit(values: np.ndarray, k: int) -> None:
    # Fewer digits than the standing tells apart, and both zeros.
    values = np.round(values, 3)
    labels = (np.arange(len(values)) % k).astype(np.int32)
    found = profile({"x": pd.Series(values)}, labels).set_index("segment")["standing"]
    ridits = (rankdata(values) - 0.5) / len(values)
    for segment in np.unique(labels):
        assert found[segment] == pytest.approx(ridits[labels == segment].mean(), rel=1e-12)


def test_millions_are_added_up_in_parts(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 1000).astype(np.int32)
    columns = {"x": pd.Series(rng.gamma(2.0, 1.0, 1000)), "n": pd.Series(rng.poisson(3.0, 1000))}
    whole = profile(columns, labels)
    monkeypatch.setattr(blocks, "PART_ROWS", 77)
    pd.testing.assert_frame_equal(profile(columns, labels), whole, rtol=1e-9)


def test_share_intervals_hold_the_share_and_shrink_with_the_customers() -> None:
    few = share_intervals(np.array([60, 40]), seed=0)
    many = share_intervals(np.array([6000, 4000]), seed=0)
    assert few[0, 0] < 0.6 < few[0, 1]
    assert few[0, 1] - few[0, 0] == pytest.approx(2 * 1.96 * np.sqrt(0.24 / 100), rel=0.15)
    assert (many[:, 1] - many[:, 0]).max() < 0.03
    assert np.array_equal(few, share_intervals(np.array([60, 40]), seed=0))


def test_numbers_are_written_in_few_digits() -> None:
    told = [in_units(v) for v in (45123.4, 86.54, 0.01234, -3, float("nan"), 0)]
    assert told == ["45,123", "86.5", "0.0123", "−3", "–", "0"]
