"""Segments: ids by size, and names that are distinct, stable and true of nobody else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import REPO
from segmentation import segment
from segmentation.errors import ConfigError
from segmentation.features.feature_set import FeatureSet
from segmentation.profiling.naming import THRESHOLDS, WORDS, Naming, name_segments
from segmentation.profiling.profiles import profile
from segmentation.profiling.segments import describe

FRAME = pd.DataFrame(
    {
        "age": [20, 22, 24, 60, 62, 64],
        "spend": [10.0, 30.0, 50.0, 10.0, 30.0, 50.0],
        "gender": ["f", "f", "m", "m", "m", "m"],
    }
)
LABELS = np.array([0, 0, 0, 1, 1, 1], dtype=np.int32)
TABLE = profile(FRAME, LABELS)


def test_names_say_what_distinguishes() -> None:
    assert name_segments(TABLE, ["age", "spend"]) == ["low age", "high age"]
    assert name_segments(TABLE, ["gender", "spend"]) == ["mixed gender, average spend", "gender m"]


def test_a_skewed_column_is_named_by_rank_not_by_its_largest_customer() -> None:
    money = np.concatenate([np.full(50, 10.0), np.full(49, 100.0), [1e7]])
    labels = np.repeat([0, 1], 50).astype(np.int32)
    assert name_segments(profile(pd.DataFrame({"money": money}), labels), ["money"]) == [
        "low money",
        "high money",
    ]


def test_one_segment_is_everybody() -> None:
    table = profile(FRAME, np.zeros(6, dtype=np.int32))
    assert name_segments(table, ["age", "spend"]) == ["all customers"]


def test_a_name_is_not_true_of_another_segment() -> None:
    rng = np.random.default_rng(0)
    centers = np.array([[9, 0], [9, 9], [0, 0], [0, 9]])
    labels = np.repeat(np.arange(4), 25).astype(np.int32)
    frame = pd.DataFrame(centers[labels] + rng.normal(0, 0.1, (100, 2)), columns=["income", "age"])
    # Segments 0 and 1 both have a high income: neither may be called that alone.
    names = name_segments(profile(frame, labels), ["income", "age"])
    assert all("income" in name and "age" in name for name in names)


def test_segments_alike_in_words_are_told_apart_by_their_median() -> None:
    ages = np.repeat([20.0, 30, 40, 50, 60, 70, 80, 90], 10)
    labels = np.repeat(np.arange(8), 10).astype(np.int32)
    names = name_segments(profile(pd.DataFrame({"age": ages}), labels), ["age"])
    assert len(set(names)) == 8
    assert "average age (around 50)" in names


def test_words_thresholds_and_names_are_the_users() -> None:
    naming = Naming(
        words={"low": "little {feature}"},
        labels={"age": "years"},
        phrases={"age": {"high": "grown up"}},
        names={},
    )
    assert name_segments(TABLE, ["age", "spend"], naming) == ["little years", "grown up"]
    own = Naming(names={1: "Veterans"})
    assert name_segments(TABLE, ["age"], own) == ["low age", "Veterans"]
    strict = Naming(thresholds={"low": 0.2, "very_low": 0.0})
    assert name_segments(TABLE, ["age"], strict)[0].startswith("average age")
    lavish = Naming(thresholds={"low": 0.4, "very_low": 0.25})
    assert name_segments(TABLE, ["age"], lavish) == ["very low age", "very high age"]


def test_a_made_name_never_repeats_a_given_one() -> None:
    names = name_segments(TABLE, ["age"], Naming(names={0: "high age"}))
    assert names[0] == "high age"
    assert names[1] not in ("high age", "")


@pytest.mark.parametrize(
    ("given_values", "told"),
    [
        ({"words": {"lo": "x"}}, "naming.words.lo"),
        ({"words": {"low": "deep"}}, "{feature}"),
        ({"thresholds": {"low": 0.7}}, "naming.thresholds.low=0.7"),
        ({"thresholds": {"dominant": 0.4}}, "dominant"),
        ({"phrases": {"age": {"higher": "x"}}}, "naming.phrases.age.higher"),
        ({"phrases": {"age": "old"}}, "naming.phrases"),
        ({"labels": "age"}, "naming.labels"),
        ({"names": {0: ""}}, "segment 0"),
        ({"names": {0: "a\nb"}}, "one line"),
        ({"names": {0: "a", 1: "a"}}, "two segments"),
        ({"names": {"0": "a"}}, "{0: Regulars}"),
    ],
)
def test_what_naming_refuses(given_values: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        Naming(**given_values)  # type: ignore[arg-type]


def test_a_name_for_a_segment_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="segments 0 to 1"):
        name_segments(TABLE, ["age"], Naming(names={2: "Nobody"}))


def test_the_english_of_the_config_is_the_english_of_the_code() -> None:
    folder = Path(REPO, "conf", "naming")
    english = yaml.safe_load((folder / "english.yaml").read_text(encoding="utf-8"))
    assert english["words"] == dict(WORDS)
    assert english["thresholds"] == dict(THRESHOLDS)
    for path in folder.glob("*.yaml"):
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        config.pop("defaults", None)
        Naming(**{key: value or {} for key, value in config.items()})
        assert set(config["words"]) == set(WORDS), path.name


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
    frame["kind"] = rng.choice(["a", "b"], len(labels))
    names = name_segments(profile(frame, labels), list(frame))
    assert len(set(names)) == k
    order = rng.permutation(len(labels))
    shuffled = frame.iloc[order].reset_index(drop=True)
    # The seed draws intervals only: names must not move with it.
    assert name_segments(profile(shuffled, labels[order], seed=seed), list(frame)) == names


@given(st.integers(0, 1000), st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_names_of_clear_groups_survive_reseeding_and_shuffling(seed: int, other: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.array([[0, 0], [0, 9], [9, 0], [9, 9]])
    group = np.repeat(np.arange(4), [40, 30, 20, 10])
    frame = pd.DataFrame(corners[group] + rng.normal(0, 0.5, (100, 2)), columns=["a", "b"])
    first = segment(frame, choice="fixed", k=4, k_max=4, seed=seed)
    order = rng.permutation(100)
    second = segment(
        frame.iloc[order].reset_index(drop=True), choice="fixed", k=4, k_max=4, seed=other
    )
    assert [s.name for s in first.segments] == [s.name for s in second.segments]
    assert len({s.name for s in first.segments}) == 4


def test_segments_tell_their_share_with_its_interval_and_who_is_on_the_border() -> None:
    silhouettes = pd.DataFrame(
        {"segment": [0, 0, 0, 1, 1, 1], "silhouette": [0.9, 0.05, 0.6, 0.5, 0.5, 0.5]}
    )
    first, second = describe(np.bincount(LABELS), ["a", "b"], silhouettes, seed=0)
    assert (first.size, first.share) == (3, 0.5)
    assert 0 <= first.share_low < 0.5 < first.share_high <= 1
    assert first.borderline == pytest.approx(1 / 3)
    assert second.borderline == 0
    (alone,) = describe(np.array([6]), ["all"], silhouettes[:0], seed=0)
    assert (alone.share_low, alone.silhouette, alone.borderline) == (1.0, None, None)


def test_typical_customers_are_the_nearest_and_do_not_depend_on_the_files_order() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(0, 1, (90, 2)), columns=["a", "b"])
    frame.loc[:44, "a"] += 8
    frame["customer_id"] = [f"c{i:02d}" for i in range(90)]
    features = FeatureSet(columns=("a", "b"))
    result = segment(frame, features=features, choice="fixed", k=2, k_max=2)
    for index in range(2):
        own = result.typical[result.typical["segment"] == index]
        medoid = own[own["kind"] == "medoid"]
        points = result.Z[result.labels == index]
        squared = ((points[:, None] - points[None]) ** 2).sum(axis=2).sum(axis=0)
        expected = np.flatnonzero(result.labels == index)[squared.argmin()]
        assert medoid["row"].tolist() == [expected]
        typical = own[own["kind"] == "typical"]
        assert len(typical) == 5
        assert typical["distance"].is_monotonic_increasing
        assert (own.loc[own["kind"] == "borderline", "silhouette"] < 0.1).all()
    order = rng.permutation(90)
    again = segment(
        frame.iloc[order].reset_index(drop=True), features=features, choice="fixed", k=2, k_max=2
    )
    ids, same = (r.customers.ids.iloc[r.typical["row"]].tolist() for r in (result, again))
    assert ids == same
