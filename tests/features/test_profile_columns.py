"""Columns nobody clusters on: described as far as they can be, and never in the way."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from pages import Page
from segmentation import SegmentationResult, segment
from segmentation.data.customers import MISSING, from_frame
from segmentation.data.demo import generate_customers
from segmentation.data.extra_columns import MOST_VALUES
from segmentation.errors import DataError
from segmentation.features.feature_set import FeatureSet, resolve
from segmentation.features.profile_columns import MOST_CATEGORIES, MOST_COLUMNS
from segmentation.reporting.run_report import render_report

CLUSTERED = ("annual_income", "spending_score")


def fitted(frame: pd.DataFrame, **features: object) -> SegmentationResult:
    chosen = FeatureSet(columns=CLUSTERED, **features)  # type: ignore[arg-type]
    return segment(frame, features=chosen, choice="fixed", k=5, k_max=5, effort="fast")


def report(result: SegmentationResult) -> str:
    return Page(render_report(result, figures={}, meta={"run": "x"})).text


def full() -> pd.DataFrame:
    """Demo customers with gaps and every kind of column that cannot describe a segment."""
    frame = generate_customers(200)
    rng = np.random.default_rng(0)
    return frame.assign(
        age=frame["age"].where(rng.random(200) < 0.7),
        gender=frame["gender"].where(rng.random(200) < 0.7),
        name=[f"name {i}" for i in range(200)],
        town=[f"town {i % 60}" for i in range(200)],
        country="Austria",
        price=["1.5", "2,5", "€ 3", "n"] * 50,
        ratio=np.where(np.arange(200) == 3, np.inf, 1.5),
        nothing=None,
        picture=[b"png"] * 200,
    )


def test_every_other_column_is_described_unasked() -> None:
    result = fitted(generate_customers())
    assert result.features.profile == ("gender", "age")
    told = result.profile[result.profile["segment"] == 0].set_index("feature")
    assert set(told.index) == {*CLUSTERED, "gender", "age"}
    assert told.loc["age", ["median", "effect", "effect_low", "effect_high"]].notna().all()
    assert told.loc["gender", ["share", "effect", "effect_low", "effect_high"]].notna().all().all()
    text = report(result)
    assert "age *" in text
    assert "gender: Female *" in text
    assert "described onlygender, age" in text.replace(" described", "described")


def test_what_cannot_be_told_is_left_out_with_the_reason() -> None:
    result = fitted(full())
    assert result.features.profile == ("gender", "age")
    assert dict(result.features.left_out) == {
        "name": f"200 different values; at most {MOST_CATEGORIES} are described by default",
        "town": f"60 different values; at most {MOST_CATEGORIES} are described by default",
        "country": "always the same",
        "price": "numbers with mistakes in them",
        "ratio": "infinite or too large numbers",
        "nothing": "empty",
        "picture": "neither numbers nor text",
    }
    text = report(result)
    assert "country (always the same)" in text
    gaps = full()[["gender", "age"]].isna().sum()
    assert f"gender {gaps['gender']}, age {gaps['age']}" in text


@pytest.mark.parametrize("missing", MISSING)
def test_gaps_in_them_drop_no_customer_and_are_not_filled_in(missing: str) -> None:
    frame = full()
    customers = from_frame(frame, missing=missing, columns=CLUSTERED)
    assert len(customers.ids) == len(frame)
    result = segment(customers, features=CLUSTERED, choice="fixed", k=5, k_max=5, effort="fast")
    of = frame["age"].groupby(result.labels)
    told = result.profile[result.profile["feature"] == "age"].set_index("segment")
    assert told["median"].to_numpy() == pytest.approx(of.median().to_numpy())
    assert told["everybody"].iloc[0] == frame["age"].median()
    shares = pd.crosstab(result.labels, frame["gender"], normalize="index")
    told = result.profile[result.profile["category"] == "Female"]
    assert told["share"].to_numpy() == pytest.approx(shares["Female"].to_numpy())


def test_they_change_neither_segments_nor_names_nor_rules_nor_the_model() -> None:
    with_them, without = fitted(full()), fitted(full(), profile=())
    assert without.features.profile == ()
    assert set(without.profile["feature"]) == set(CLUSTERED)
    assert np.array_equal(with_them.labels, without.labels)
    assert with_them.segments == without.segments
    assert with_them.rules == without.rules
    assert with_them.typical.equals(without.typical)
    assert list(with_them.pipeline.feature_names_in_) == list(CLUSTERED)


def test_a_list_names_what_is_described_whatever_it_holds() -> None:
    result = fitted(full(), profile=("town", "nothing"))
    assert result.features.profile == ("town",)
    assert result.features.left_out == {"nothing": "empty"}
    assert result.profile["category"].nunique() == MOST_CATEGORIES
    assert "town: 42 other values differ less" in report(result)
    with pytest.raises(DataError, match=r"no column 'twon'\. Did you mean 'town'"):
        fitted(full(), profile=("twon",))


def test_codes_are_categories_with_gaps_too() -> None:
    frame = generate_customers(200).assign(region=[1, 2, None, 3] * 50)
    result = fitted(frame, categorical=("region",), profile=("region",))
    told = result.profile[result.profile["feature"] == "region"]
    assert sorted(set(told["category"])) == ["1", "2", "3"]


def test_a_segment_without_any_value_is_not_told_of_in_it() -> None:
    frame = generate_customers(200)
    rich = frame["annual_income"] > 75
    result = fitted(frame.assign(points=frame["age"].where(rich), card=np.where(rich, "a", None)))
    told = result.profile[result.profile["feature"] == "points"].set_index("segment")
    poor = [s for s in range(5) if not rich[result.labels == s].any()]
    assert poor
    assert told.loc[poor, ["mean", "median", "effect", "z"]].isna().all().all()
    assert not re.search(r"\bnan\b", report(result))
    assert result.features.left_out == {"card": "always the same"}


def test_thousands_of_texts_are_not_kept() -> None:
    n = 3 * MOST_VALUES
    frame = generate_customers(n).assign(mail=[f"{i}@x.org" for i in range(n)])
    customers = from_frame(frame, columns=CLUSTERED)
    assert "mail" not in customers.others.columns
    assert customers.others.left_out["mail"] == f"more than {MOST_VALUES:,} different texts"


def test_of_very_many_columns_the_first_are_told() -> None:
    frame = generate_customers(60)
    rng = np.random.default_rng(0)
    extra = pd.DataFrame(rng.normal(size=(60, 70)), columns=[f"x{i}" for i in range(70)])
    features = resolve(FeatureSet(columns=CLUSTERED), from_frame(pd.concat([frame, extra], axis=1)))
    assert features.profile is not None
    assert len(features.profile) == MOST_COLUMNS
    assert features.left_out["x69"] == (f"only the first {MOST_COLUMNS} are described by default")
