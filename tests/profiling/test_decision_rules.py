"""Recognition rules: short, in the customers' units, and as good as they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from segmentation import segment
from segmentation.data.customers import read_csv
from segmentation.profiling.decision_rules import (
    SPARE_LEAVES,
    Condition,
    Rules,
    _encode,
    _rounded,
    _Tree,
    recognition_rules,
)


def place(rules: Rules, frame: pd.DataFrame) -> np.ndarray:
    """What somebody does who follows the rules to the letter: how many rules claim a customer,
    and the last that does."""
    claims = np.zeros(len(frame), dtype=int)
    placed = np.full(len(frame), -1)
    for rule in rules.rules:
        for branch in rule.branches:
            held = np.ones(len(frame), dtype=bool)
            for condition in branch:
                held &= condition.holds(frame[condition.feature].to_numpy())
            claims += held
            placed[held] = rule.segment
    assert (claims == 1).all(), "the rules leave nobody out and claim nobody twice"
    return placed


def blobs(seed: int, k: int, n: int = 300, d: int = 3) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k)]).astype(np.int32)
    values = rng.normal(0, 4, (k, d))[labels] + rng.normal(0, 1, (n, d))
    return pd.DataFrame(values, columns=[f"x{i}" for i in range(d)]), labels


def test_mall_is_told_in_few_leaves_and_nine_of_ten_are_placed_right(shared_data) -> None:
    rename = {"Annual Income (k$)": "annual_income", "Spending Score (1-100)": "spending_score"}
    mall = read_csv(shared_data / "Mall_Customers_Gender.csv", id="CustomerID", rename=rename)
    columns = ["annual_income", "spending_score"]
    for seed in range(3):
        result = segment(mall, features=columns, choice="fixed", k=5, k_max=5, seed=seed)
        rules = result.rules
        assert rules is not None
        assert rules.leaves <= 8
        assert rules.fidelity >= 0.9
        assert (place(rules, result.customers.frame) == result.labels).mean() >= 0.9
        assert all(rule.coverage > 0.7 and rule.precision > 0.7 for rule in rules.rules)
    assert "annual_income at most 39" in rules.rules[3].text


@given(st.integers(0, 10_000), st.integers(2, 8))
@settings(max_examples=25, deadline=None)
def test_rules_claim_every_customer_once_and_are_few(seed: int, k: int) -> None:
    frame, labels = blobs(seed, k)
    rng = np.random.default_rng(seed)
    frame["x1"] = frame["x1"].round()
    frame["kind"] = np.where(labels % 2, "odd", rng.choice(["even", "odd", "none"], len(frame)))
    rules = recognition_rules(frame, labels, categorical=["kind"], seed=seed)
    assert rules is not None
    assert rules.leaves <= k + SPARE_LEAVES
    assert [rule.segment for rule in rules.rules] == list(range(k))
    place(rules, frame)
    assert 0 <= rules.fidelity <= 1
    assert all(0 <= rule.coverage <= 1 for rule in rules.rules)


def test_the_fidelity_told_is_that_of_customers_not_seen() -> None:
    """Segments at random: rules fit the customers they are made from, and no others."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 8)), columns=list("abcdefgh"))
    labels = rng.integers(0, 4, 60).astype(np.int32)
    rules = recognition_rules(frame, labels, categorical=(), seed=0)
    assert rules is not None
    assert rules.fidelity < 0.45 < (place(rules, frame) == labels).mean()


def test_the_fidelity_told_holds_on_new_customers() -> None:
    frame, labels = blobs(5, 4, n=4000)
    rules = recognition_rules(frame[:400], labels[:400], categorical=(), seed=0)
    assert rules is not None
    later = (place(rules, frame[400:]) == labels[400:]).mean()
    assert rules.fidelity == pytest.approx(later, abs=0.04)


def test_a_tree_read_at_fewer_leaves_is_the_tree_grown_to_fewer_leaves() -> None:
    frame, labels = blobs(7, 5)
    columns = _encode(frame, ())
    everybody = np.ones(len(frame), dtype=bool)
    tree = _Tree(columns, everybody, labels, 9, seed=3)
    X = np.column_stack([column.X for column in columns])
    for leaves in range(2, 10):
        small = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=3).fit(X, labels).tree_
        nodes = 2 * leaves - 1
        assert small.node_count == nodes
        assert small.feature.tolist() == [
            feature if left < nodes else -2
            for feature, left in zip(tree._feature[:nodes], tree._children[0][:nodes], strict=True)
        ]


def test_conditions_read_like_a_sentence() -> None:
    assert Condition("age", above=30, at_most=45).text == "age above 30 and at most 45"
    assert Condition("income", at_most=45_000).text == "income at most 45,000"
    three = ("a", "b", "c")
    assert Condition("kind", values=("a",), all_values=three).text == "kind is a"
    assert Condition("kind", values=("a", "c"), all_values=three).text == "kind is not b"
    assert Condition("sex", values=("f",), all_values=("f", "m")).text == "sex is f"


def test_thresholds_are_rounded_to_what_one_remembers() -> None:
    assert _rounded(40.5, 1.8, whole=True) == 40
    assert _rounded(4234.7, 200, whole=False) == 4200
    assert _rounded(0.01234, 0.5, whole=False) == 0.012
    assert _rounded(-7.46, 0.5, whole=False) == -7.5
    assert _rounded(0.0, 0.02, whole=False) == 0
    assert _rounded(1000.43, 0.016, whole=False) == pytest.approx(1000.43)
    assert _rounded(2.5, 0.1, whole=True) == 2


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12, 1e140])
def test_units_of_any_size_give_the_same_rules(scale: float) -> None:
    frame, labels = blobs(1, 3)
    rules = recognition_rules(frame * scale, labels, categorical=(), seed=0)
    assert rules is not None
    assert rules.fidelity > 0.9
    place(rules, frame * scale)


def test_a_segment_of_one_customer_is_told_as_too_small() -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=200), "y": rng.normal(size=200)})
    labels = (frame["x"] > 0).to_numpy().astype(np.int32)
    frame.loc[0], labels[0] = (0.001, 0.0), 2
    rules = recognition_rules(frame, labels, categorical=(), seed=0)
    assert rules is not None
    assert rules.rules[2].coverage == 0
    assert rules.fidelity > 0.9


def test_one_segment_has_no_rules() -> None:
    frame, labels = blobs(0, 1)
    assert recognition_rules(frame, labels, categorical=(), seed=0) is None


def test_the_order_of_the_file_changes_no_rule() -> None:
    frame, _ = blobs(4, 4)
    order = np.random.default_rng(0).permutation(len(frame))
    first = segment(frame, choice="fixed", k=4, k_max=4)
    second = segment(frame.iloc[order].reset_index(drop=True), choice="fixed", k=4, k_max=4)
    assert first.rules == second.rules
