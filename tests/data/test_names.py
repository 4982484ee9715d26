"""Keys and names made from column names are unique, whatever the columns are called."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.data.names import free_name, kept_names, unique_keys
from segmentation.errors import DataError
from segmentation.monitoring.monitor import metric_names

#: Names that are likely to collide after characters are replaced, or cut off, or folded.
ALIKE = st.one_of(
    st.text(alphabet="aA_./é€ ", min_size=1, max_size=4),
    st.text(min_size=1, max_size=300),
    st.integers(190, 260).map(lambda n: "x" * n),
    st.tuples(st.sampled_from(["a_b", "x" * 200]), st.text("0123456789abcdef", max_size=8)).map(
        "_".join
    ),
)
NAMES = st.lists(ALIKE, min_size=1, max_size=12, unique=True)


@settings(deadline=None, max_examples=300)
@given(NAMES)
def test_metrics_of_any_columns_are_ones_mlflow_takes_and_unique(names: list[str]) -> None:
    keys = metric_names(names)
    assert list(keys) == names
    # MySQL's default compares without case.
    assert len({key.casefold() for key in keys.values()}) == len(names)
    for key in keys.values():
        assert re.fullmatch(r"psi/[\w\- ]+", key)
        assert len(key) <= 250


@given(NAMES, st.randoms(use_true_random=False))
def test_the_order_of_the_columns_does_not_matter(names, random) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)
    assert metric_names(shuffled) == metric_names(names)


def test_names_that_can_be_kept_are_kept() -> None:
    assert metric_names(["age", "Annual Income (k$)"])["age"] == "psi/age"
    keys = metric_names(["a b", "a_b", "a.b", "A_B"])
    assert keys["a b"] == "psi/a b"
    assert keys["A_B"] == "psi/A_B"
    assert keys["a_b"].startswith("psi/a_b_")
    assert keys["a.b"].startswith("psi/a_b_")
    # A digest that is itself a column's name.
    digest = keys["a.b"].removeprefix("psi/")
    assert len(set(metric_names(["a_b", "a.b", digest]).values())) == 3


@given(st.lists(st.text("ab ()id2", min_size=1), unique=True), st.text("ab", min_size=1))
def test_a_free_name_is_not_taken(taken: list[str], name: str) -> None:
    assert free_name(name, "id", taken) not in taken


def test_columns_with_the_names_of_added_ones_are_kept() -> None:
    table = {"source": "x.csv", "features": {"distance"}, "id": "segment"}
    kept = kept_names(
        ["segment", "distance", "age", "segment (id)"], ["segment", "distance"], **table
    )
    assert kept == {
        "segment": "segment (id 2)",
        "distance": "distance (column)",
        "age": "age",
        "segment (id)": "segment (id)",
    }
    with pytest.raises(DataError, match="was it scored before"):
        kept_names(["segment_name"], ["segment_name"], **table)


@given(NAMES)
def test_keys_are_no_longer_than_allowed(names: list[str]) -> None:
    keys = unique_keys(names, lambda name: name, longest=120)
    assert len(set(keys.values())) == len(names)
    assert max(map(len, keys.values())) <= 120
