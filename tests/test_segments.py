"""Profiles in the customers' units, ids by size, names that are distinct and stable."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.segments import name_segments, profile

FRAME = pd.DataFrame(
    {
        "age": [20, 22, 24, 60, 62, 64],
        "spend": [10.0, 30.0, 50.0, 10.0, 30.0, 50.0],
        "gender": ["f", "f", "m", "m", "m", "m"],
    }
)
LABELS = np.array([0, 0, 0, 1, 1, 1], dtype=np.int32)


def test_profile_is_in_the_customers_units() -> None:
    table = profile(FRAME, LABELS).set_index(["segment", "feature", "category"])
    young = table.loc[(0, "age")].iloc[0]
    assert (young["mean"], young["median"], young.q25, young.q75) == (22, 22, 21, 23)
    ages = FRAME.age
    assert young.z == pytest.approx((22 - ages.mean()) / ages.std(ddof=0))
    shares = profile(FRAME, LABELS).query("feature == 'gender'")
    shares = shares.set_index(["segment", "category"]).share
    assert shares[(0, "f")] == pytest.approx(2 / 3)
    assert shares[(1, "m")] == 1


def test_names_say_what_distinguishes() -> None:
    table = profile(FRAME, LABELS)
    assert name_segments(table, ["age", "spend"]) == ["low age", "high age"]
    assert name_segments(table, ["gender", "spend"])[1] == "gender m"


def test_one_segment_is_everybody() -> None:
    table = profile(FRAME, np.zeros(6, dtype=np.int32))
    assert name_segments(table, ["age", "spend"]) == ["all customers"]


@given(
    st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 5), st.sampled_from([0.1, 1, 5])
)
@settings(max_examples=60, deadline=None)
def test_names_are_distinct_and_do_not_depend_on_row_order(seed, k, d, spread) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, 60)]).astype(np.int32)
    centers = rng.normal(0, spread, (k, d))
    frame = pd.DataFrame(
        centers[labels] + rng.normal(0, 1, (len(labels), d)),
        columns=[f"feature_{j}" for j in range(d)],
    )
    names = name_segments(profile(frame, labels), frame.columns)
    assert len(set(names)) == k
    order = rng.permutation(len(labels))
    shuffled = frame.iloc[order].reset_index(drop=True)
    assert name_segments(profile(shuffled, labels[order]), frame.columns) == names
