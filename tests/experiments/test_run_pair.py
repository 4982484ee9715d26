"""Two runs side by side: what differs, who moves, what may be compared and which is better."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import CONFIG, config, logged, pair_of

from segmentation.evaluation.stability import adjusted_rand
from segmentation.experiments.pair_tables import customer_csv
from segmentation.experiments.run_pair import aligned_ids, compare_pair, segment_rows


def settings_of(pair) -> dict[str, tuple[str | None, str | None]]:
    return {each.setting: (each.a, each.b) for each in pair.differences}


def better(pair) -> dict[str, str]:
    return {each.name: each.better for each in pair.criteria}


def test_only_the_settings_that_differ_are_listed_by_dotted_key() -> None:
    other = config(scaling__name="robust", features__columns=["age"], seed=7)
    pair = pair_of([0, 0, 1, 1], [0, 0, 1, 1], config=other, code_version="2+b")
    assert settings_of(pair) == {
        "features.columns": ("[age, income]", "[age]"),
        "scaling.name": ("standard", "robust"),
        "seed": ("0", "7"),
        "code": ("1+a", "2+b"),
    }


def test_what_does_not_affect_the_result_is_no_difference() -> None:
    """Keys an earlier version lacks, empty values, and where the run was logged."""
    earlier = {key: value for key, value in CONFIG.items() if key != "compare"}
    later = config(naming={"words": {}, "labels": None}, tracking={"experiment": "x"}, run_id="r")
    pair = compare_pair(logged([0, 1, 1], config=earlier), logged([0, 1, 1], config=later))
    assert pair.differences == ()


def test_mappings_without_a_common_key_are_one_setting() -> None:
    one, other = config(data__rename={"Age": "age"}), config(data__rename={"Alter": "age"})
    pair = compare_pair(logged([0, 1, 1], config=one), logged([0, 1, 1], config=other))
    assert settings_of(pair) == {"data.rename": ("{Age: age}", "{Alter: age}")}


def test_automatic_features_are_those_of_the_data_source() -> None:
    auto = config(features={"name": "auto", "columns": None})
    auto["data"]["default_features"] = {"name": "money", "columns": ["age", "income"]}
    pair = compare_pair(logged([0, 1, 1]), logged([0, 1, 1], config=auto))
    assert settings_of(pair) == {}
    assert "silhouette" in better(pair)


def test_a_password_in_a_config_is_masked() -> None:
    other = config(data__url="postgresql://me:secret@host/db")
    pair = pair_of([0, 1, 1], [0, 1, 1], config=other)
    assert "secret" not in str(pair.differences)


def test_a_stored_config_is_not_resolved(monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    other = config(naming={"names": {0: "${oc.env:SECRET}"}})
    pair = pair_of([0, 1, 1], [0, 1, 1], config=other)
    assert settings_of(pair) == {"naming": (None, "{names: {0: ${oc.env:SECRET}}}")}


def test_packages_are_compared_if_both_are_known() -> None:
    one, other = {"numpy": "2.0", "scipy": "1.1"}, {"numpy": "2.1", "scipy": "1.1"}
    a, b = logged([0, 1, 1], packages=one), logged([0, 1, 1], packages=other)
    assert settings_of(compare_pair(a, b)) == {"numpy": ("2.0", "2.1")}
    assert settings_of(compare_pair(a, logged([0, 1, 1]))) == {}


def test_a_run_from_a_notebook_has_only_the_settings_it_logged() -> None:
    pair = pair_of([0, 1, 1], [0, 1, 1], config=None, scaling="robust")
    assert settings_of(pair) == {"scaling": ("standard", "robust")}
    assert "silhouette" not in better(pair), "its features may have the same name only"
    assert any("no stored config" in note for note in pair.notes)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_as_few_customers_as_possible_move(data) -> None:
    n = data.draw(st.integers(2, 30))
    draws = st.lists(st.integers(0, 3), min_size=n, max_size=n)
    a, b = (pd.factorize(np.array(data.draw(draws)))[0] for _ in range(2))
    pair = pair_of(a, b)
    common = pair.common
    assert common is not None
    assert common.rand == pytest.approx(adjusted_rand(a[None], b[None], 4)[0])
    assert common.counts.to_numpy().sum() == n
    assert common.moved + sum(match.customers for match in common.matches) == n
    assert {m.a for m in common.matches} <= set(a)
    # The ids of B are arbitrary: any other numbering gives the same answer.
    order = np.array(data.draw(st.permutations(range(max(b) + 1))))
    again = pair_of(a, order[b]).common
    assert again is not None
    assert again.moved == common.moved
    assert again.rand == pytest.approx(common.rand)
    assert common.identical == (common.rand == pytest.approx(1) and len(set(a)) == len(set(b)))
    aligned = aligned_ids(pair)
    assert len({*aligned.values()}) == len(aligned)


def test_who_moves_is_named() -> None:
    ids = ["007", "07", "7", "x", "NA", "y"]
    a = logged([0, 0, 0, 0, 1, 1], ids=ids)
    b = logged([1, 1, 1, 0, 0, 0], ids=ids)
    pair = compare_pair(a, b)
    assert pair.common is not None
    assert [(m.a, m.b, m.customers) for m in pair.common.matches] == [(0, 1, 3), (1, 0, 2)]
    (move,) = pair.common.moves
    assert (move.a, move.b, move.customers, move.share) == (0, 0, 1, 0.25)
    assert move.examples == ("x",)
    assert pair.headline().startswith("1 of 6 customers (17\N{NO-BREAK SPACE}%) moves")
    table = customer_csv(pair)
    assert table is not None
    lines = table.decode().splitlines()
    assert lines[1] == "007,0,segment 0,1,segment 1,false"
    assert lines[4] == "x,0,segment 0,0,segment 0,true"


def test_counterparts_are_adjacent_and_those_without_one_follow() -> None:
    pair = pair_of([0, 0, 1, 1, 2], [1, 1, 0, 0, 0])
    rows = [(row["run"], row["segment"]) for row in segment_rows(pair)]
    assert rows == [("A", 0), ("B", 1), ("A", 1), ("B", 0), ("A", 2)]
    assert [row["shared"] for row in segment_rows(pair)] == [2, 2, 2, 2, None]


def test_one_segment_against_several() -> None:
    pair = pair_of([0, 0, 0, 0], [0, 1, 0, 1], gap=np.nan)
    assert pair.common is not None
    assert pair.common.rand == 0
    assert pair.common.moved == 2
    assert not pair.common.identical
    same = pair_of([0, 0, 0], [0, 0, 0])
    assert same.headline().startswith("Both runs put the 3 customers into the same segments")


OTHER_DATA = {"data_sha256": "e" * 64, "data": "other.csv"}


def test_different_data_are_compared_on_the_customers_in_both() -> None:
    a = logged([0, 0, 1, 1], ids=["1", "2", "3", "4"])
    b = logged([0, 1, 1, 2], ids=["3", "4", "5", "6"], **OTHER_DATA)
    pair = compare_pair(a, b)
    assert pair.common is not None
    assert (pair.common.total, pair.common.only_a, pair.common.only_b) == (2, 2, 2)
    # Also the segments that none of these customers is in.
    assert pair.common.counts.shape == (2, 3)
    assert any("2 are in both" in note for note in pair.notes)
    assert pair.first is None
    assert not {"silhouette", "wcss", "reference_silhouette"} & {*better(pair)}
    assert "the data sets differ" in pair.not_compared


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ids": ["01", "02", "03"], **OTHER_DATA}, "'1' and '01'"),
        ({"id_name": "row", **OTHER_DATA}, "without an id column"),
        ({"customers": False}, "Run B did not log"),
    ],
)
def test_without_common_customers_only_the_segments_are_compared(changes, why) -> None:
    pair = compare_pair(logged([0, 0, 1]), logged([0, 1, 1], **changes))
    assert pair.common is None
    assert why in pair.headline()
    assert customer_csv(pair) is None
    assert [row["segment"] for row in segment_rows(pair)] == [0, 1, 0, 1]
    assert len({*aligned_ids(pair).values()} & {0, 1}) == 0


def test_neither_logged_its_customers() -> None:
    pair = compare_pair(*(logged([0, 1, 1], customers=False) for _ in "AB"))
    assert pair.headline().startswith("Neither run logged which segment")


def test_rows_of_the_same_data_are_the_same_customers() -> None:
    pair = compare_pair(*(logged([0, 1, 1], id_name="row") for _ in "AB"))
    assert pair.common is not None


def test_metrics_in_the_own_space_need_the_same_features_and_scaling() -> None:
    own = {"silhouette", "explained_variance", "wcss"}
    reference = {f"reference_{name}" for name in own}
    assert own | reference <= {*better(pair_of([0, 1, 1], [0, 0, 1]))}
    for other in (config(scaling__name="robust"), config(features__weights={"age": 2.0})):
        pair = pair_of([0, 1, 1], [0, 0, 1], config=other)
        assert not own & {*better(pair)}
        assert reference <= {*better(pair)}
        assert "features or scaling differ" in pair.not_compared
    named = pair_of([0, 1, 1], [0, 0, 1], config=config(features__name="other"))
    assert own <= {*better(named)}
    elsewhere = pair_of([0, 1, 1], [0, 0, 1], config=config(compare__reference=["age"]))
    assert not reference & {*better(elsewhere)}
    assert own <= {*better(elsewhere)}


def test_the_better_value_depends_on_the_metric() -> None:
    changes = {"stability": 0.7, "gap": 4.0, "wcss": 90.0, "confidence": "contested"}
    changes["stability_high"] = 0.72
    pair = pair_of([0, 1, 1], [0, 0, 1], careful="split by one column", **changes)
    found = better(pair)
    assert found["stability"] == found["confidence"] == found["careful"] == "A"
    assert found["gap"] == found["wcss"] == "B"
    assert found["structure"] == found["silhouette"] == ""
    assert pair.first == "A"
    assert any("split by one column" in note for note in pair.notes)


def test_what_the_ranking_takes_for_equal_is_not_better() -> None:
    """Stability in one band, gaps within the error, gaps against another null."""
    notes = {}
    for changes in ({"stability": 0.87}, {"gap": 3.15}, {"gap": 4.0, "evidence_version": None}):
        for pair in (
            pair_of([0, 1, 1], [0, 0, 1], **changes),
            compare_pair(logged([0, 0, 1], **changes), logged([0, 1, 1])),
        ):
            (name, *_) = changes
            (found,) = [each for each in pair.criteria if each.name == name]
            assert found.better == ""
            assert found.a != found.b
            notes[found.note] = None
    assert [*notes] == ["too close to call", "measured against different nulls"]
    assert better(pair_of([0, 1, 1], [0, 0, 1], gap=3.2))["gap"] == "B"


def test_a_sample_in_a_tag_stands_in_for_customers_that_were_not_logged() -> None:
    """Servers get no customers by default, but every run has the tag."""
    a = logged([0, 0, 1, 1], customers=False, sample=[0, 0, 1], population=4)
    b = logged([0, 1, 1, 1], sample=[0, 1, 1], population=4)
    pair = compare_pair(a, b)
    assert pair.common is not None
    assert (pair.common.total, pair.common.moved) == (3, 1)
    assert pair.headline().startswith("1 of a sample of 3 customers (33")
    assert any("a sample of 3 of the 4 customers" in note for note in pair.notes)
    assert pair.common.moves[0].examples == ()
    assert customer_csv(pair) is None
    everybody = logged([0, 1, 1], customers=False, sample=[0, 1, 1])
    same = compare_pair(everybody, everybody)
    assert same.headline().startswith("Both runs put the 3 customers into the same segments")
    # Equal row numbers in two files do not mean the same customers.
    elsewhere = logged([0, 1, 1], customers=False, sample=[0, 1, 1], **OTHER_DATA)
    assert compare_pair(everybody, elsewhere).common is None


def test_more_segments_explain_more() -> None:
    pair = pair_of([0, 1, 1, 0], [0, 1, 2, 0], wcss=50.0, reference_explained_variance=0.4)
    notes = {each.name: each.note for each in pair.criteria}
    assert notes["wcss"]
    assert not notes["reference_explained_variance"], "it is better with fewer segments"


def test_missing_values_decide_nothing() -> None:
    pair = pair_of([0, 1, 1], [0, 0, 1], stability=np.nan, confidence=None)
    found = {each.name: each for each in pair.criteria}
    assert (found["stability"].b, found["stability"].better) == ("–", "")
    assert (found["confidence"].b, found["confidence"].better) == ("–", "")
