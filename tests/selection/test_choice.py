"""Every rule alone, and the sentences and errors a user meets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from segmentation import log_result, segment
from segmentation.clustering import ENGINES
from segmentation.errors import ConfigError
from segmentation.evaluation import metrics
from segmentation.evaluation.silhouette import silhouettes
from segmentation.selection.choice import CHOICES, Choice, Fitted, Rule, check, choose
from segmentation.tracking.store import open_store

RNG = np.random.default_rng(0)
CENTERS = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 12.0], [12.0, 12.0]])
Z = np.concatenate([center + RNG.normal(size=(40, 2)) for center in CENTERS])


def chosen(rule: str, k_max: int = 8, data: np.ndarray = Z, **options: int) -> Choice:
    ks = sorted({1, *range(options.get("k_min", 1), k_max + 1)})
    clusterings = ENGINES["sklearn"].fit_k_range(data, ks, seed=0)
    curve = metrics.curve(data, clusterings, silhouettes(data, clusterings, seed=0))
    return choose(rule, data, clusterings, curve, seed=0, **options)


@pytest.mark.parametrize("rule", [name for name in CHOICES if name not in {"evidence", "fixed"}])
def test_every_rule_counts_clear_groups_and_says_it_did_not_test(rule: str) -> None:
    found = chosen(rule)
    assert found.k == 4
    assert found.rule == rule
    assert found.structure is None
    assert found.confidence is None
    assert found.evidence is None
    assert found.picks == {rule: 4}
    assert found.verdict.startswith("4 segments: ")
    assert found.verdict.endswith("(structure untested)")


def test_evidence_says_who_agrees() -> None:
    found = chosen("evidence")
    assert found.structure is True
    assert found.confidence == "agreed"
    assert found.verdict in {f"4 segments, agreed by {n} of 5 criteria" for n in (3, 4, 5)}
    assert set(found.picks) == {
        "icl",
        "silhouette",
        "calinski_harabasz",
        "gap",
        "prediction_strength",
    }


def test_contested_names_the_alternatives_and_their_criteria(shared_data: Path) -> None:
    frame = pd.read_csv(shared_data / "Mall_Customers_Gender.csv")
    data = frame.iloc[:, [2, 3, 4]].to_numpy(dtype=float)
    found = chosen("evidence", 12, (data - data.mean(axis=0)) / data.std(axis=0))
    assert found.structure is True
    assert found.confidence == "contested"
    assert f"{found.k} segments, contested: k={found.k} by " in found.verdict
    for k in set(found.picks.values()):
        assert f"k={k} by " in found.verdict


def test_no_structure_gives_k_1_whatever_the_range() -> None:
    noise = np.random.default_rng(1).normal(size=(120, 2))
    found = chosen("evidence", 8, noise, k_min=3)
    assert found.k == 1
    assert found.structure is False
    assert found.confidence is None
    assert found.verdict.startswith("no cluster structure found: ")


def test_too_few_customers_is_a_named_verdict() -> None:
    found = chosen("evidence", 4, Z[:8])
    assert found.k == 1
    assert "only 8 customers" in found.verdict


def test_fixed_takes_its_k() -> None:
    found = chosen("fixed", k=3)
    assert (found.k, found.picks) == (3, {})
    one = chosen("fixed", k=1)
    assert one.verdict.startswith("1 segment: ")


@pytest.mark.parametrize("rule", ["silhouette", "gap", "icl"])
def test_k_min_is_kept(rule: str) -> None:
    assert chosen(rule, k_min=5).k >= 5


def test_a_rule_that_no_k_satisfies_says_so() -> None:
    # Prediction strength reaches 0.8 for no k above the four groups.
    with pytest.raises(ConfigError, match=r"choice=prediction_strength finds no k in k=5\.\.8"):
        chosen("prediction_strength", k_min=5)


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        ("silhuette", {}, "choice=silhuette: allowed are evidence, silhouette"),
        ("fixed", {}, "add choice.k="),
        ("fixed", {"k": 9}, "choice.k=9 is outside the fitted range k=1..8"),
        ("fixed", {"k": 2, "k_min": 3}, "choice.k=2 is outside the fitted range k=3..8"),
        ("silhouette", {"k": 5}, "choice.k=5 with choice=silhouette"),
        ("evidence", {"k": 5}, "choice.k=5 with choice=evidence"),
        ("evidence", {"k_max": 1}, "k.max=1"),
        ("silhouette", {"k_max": 1}, "choice=silhouette finds no k in k=1..1"),
        ("gap", {"k_max": 1}, "choice=gap finds no k"),
        ("elbow", {"k_max": 2}, "at least 3 values of k"),
    ],
)
def test_mistakes_are_named(rule: str, options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(rule, **options)
    assert words in str(caught.value)


def largest_allowed(fitted: Fitted) -> int:
    return min(max(fitted.ks), int(fitted.options.get("most", 99)))


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule from outside: one line in the table."""
    rule = Rule(largest_allowed, "largest k that I allow", keys={"most": int})
    monkeypatch.setitem(CHOICES, "mine", rule)


def test_a_rule_of_ones_own_is_one_line(mine: None, frame, store_uri, monkeypatch) -> None:
    result = segment(frame, choice="mine", k_max=3)
    assert result.k == 3
    assert result.verdict.startswith("3 segments: largest k that I allow (structure untested)")
    assert segment(frame, choice={"name": "mine", "most": 2}, k_max=3).k == 2
    # Drawing is the longest part, and not what this is about.
    monkeypatch.setattr("segmentation.tracking.run_items.FIGURES", {})
    logged = log_result(result, uri=store_uri)
    run = open_store(store_uri, "customer-segments").client.get_run(logged.run_id)
    assert run.data.params["choice"] == "mine"
    assert run.data.tags["structure"] == "untested"


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"name": "mine", "most": "two"}, "choice.most=two: the value must be a whole number"),
        ({"name": "mine", "k": 5}, "choice.k only applies to choice=fixed"),
        ({"name": "gap", "most": 5}, "choice.most only applies to choice=mine"),
        ({"name": "mine", "least": 5}, "choice=mine has no key least; it takes choice.most"),
        ({"name": "gap", "least": 5}, "choice=gap has no key least; it takes no key"),
        ("yours", "choice=yours: allowed are evidence, .*, mine"),
    ],
)
def test_its_keys_are_checked_before_anything_is_fitted(mine: None, frame, choice, words) -> None:
    with pytest.raises(ConfigError, match=words):
        segment(frame, choice=choice)
    with pytest.raises(ConfigError, match=words):
        check(choice)
