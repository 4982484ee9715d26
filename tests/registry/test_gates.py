"""Each gate by itself: what it refuses, and that it says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segmentation.registry import gates
from segmentation.registry.gates import FAILED, NOTHING, OFF, PASSED, Findings

GOOD = Findings(
    first=False,
    structure=True,
    structure_reason="groups are apart",
    stability=0.9,
    smallest_share=0.1,
    silhouette=0.5,
    champion_silhouette=0.5,
    moved=0.05,
)
ASKED = gates.rules()


def answers(found: Findings, asked: object = ASKED) -> dict[str, str]:
    return {one.gate: one.answer for one in gates.check(found, asked)}


def test_a_good_challenger_passes_every_gate() -> None:
    assert set(answers(GOOD).values()) == {PASSED}
    assert len(answers(GOOD)) == len(gates.GATES) == 9


@pytest.mark.parametrize(
    ("change", "refusing"),
    [
        ({"data_problem": "the file is gone"}, {"data_known"}),
        ({"structure": False}, {"structure"}),
        ({"structure": None}, {"structure"}),
        ({"one_column": "this is a split by gender"}, {"several_columns"}),
        ({"stability": 0.59}, {"stability"}),
        ({"stability": None}, {"stability"}),
        ({"smallest_share": 0.01}, {"smallest_share"}),
        ({"smallest_share": None}, {"smallest_share"}),
        ({"silhouette": 0.47}, {"quality"}),
        ({"silhouette": None}, {"quality"}),
        ({"moved": 0.31}, {"migration"}),
        ({"moved": None, "incomparable": "a column is missing"}, {"migration", "quality"}),
        ({"differs": False}, {"differs"}),
        ({"load_problem": "no module named skops"}, {"loads"}),
    ],
)
def test_what_each_gate_refuses(change, refusing) -> None:
    answered = gates.check(replace(GOOD, **change), ASKED)
    failed = {one.gate: one for one in answered if one.failed}
    assert set(failed) == refusing
    assert all(one.advice and one.found for one in failed.values())
    assert not any(one.advice for one in answered if not one.failed)


@pytest.mark.parametrize(
    ("found", "asked"),
    [
        ({"stability": 0.6}, {"min_stability": 0.6}),
        ({"smallest_share": 0.02}, {"min_smallest_share": 0.02}),
        ({"silhouette": 0.5, "champion_silhouette": 0.5}, {"max_quality_loss": 0.0}),
        ({"moved": 0.3}, {"max_moved": 0.3}),
        ({"moved": 0.0}, {"max_moved": 0.0}),
    ],
)
def test_a_threshold_itself_passes(found, asked) -> None:
    assert set(answers(replace(GOOD, **found), replace(ASKED, **asked)).values()) == {PASSED}


def test_gates_can_be_switched_off_but_for_a_champion_replaced_by_itself() -> None:
    off = gates.rules(
        data_known=False,
        structure=False,
        several_columns=False,
        min_stability=None,
        min_smallest_share=None,
        max_quality_loss=None,
        max_moved=None,
        loads=False,
    )
    worst = Findings(first=False, differs=False, data_problem="gone", incomparable="gone")
    found = answers(worst, off)
    assert found.pop("differs") == FAILED
    assert set(found.values()) == {OFF}


def test_the_first_champion_has_nothing_to_be_compared_with() -> None:
    first = replace(GOOD, first=True, silhouette=None, champion_silhouette=None, moved=None)
    found = answers(first)
    assert {gate for gate, answer in found.items() if answer == NOTHING} == {
        "quality",
        "migration",
        "differs",
    }
    assert FAILED not in found.values()


def test_a_champion_of_one_segment_has_no_quality_to_keep() -> None:
    single = replace(GOOD, champion_silhouette=None, champion_single=True)
    assert answers(single)["quality"] == NOTHING
    # Not measured for another reason is no reason to let it pass.
    assert answers(replace(GOOD, champion_silhouette=None))["quality"] == FAILED


def test_the_table_says_in_words_what_was_found_and_asked() -> None:
    table = gates.table(gates.check(replace(GOOD, moved=0.4), ASKED)).set_index("gate")
    assert table.loc["migration", "found"] == "40 % of the customers change their segment"
    assert table.loc["migration", "asked"] == "at most 30 %"
    assert "promotion.max_moved" in table.loc["migration", "advice"]
