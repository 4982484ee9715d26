"""The data sets of a ranking: how they are named and chosen."""

from __future__ import annotations

import pandas as pd
import pytest

from segmentation.errors import ConfigError
from segmentation.experiments.data_sets import choose, split, title

MAY, JUNE = "a" * 64, "b" * 64


def ranked(*runs: tuple[str, str | None, str | None, str]) -> pd.DataFrame:
    """Runs with id, name and digest of the data, and day of June."""
    frame = pd.DataFrame(runs, columns=["run_id", "data", "data_sha256", "start"])
    frame["start"] = pd.to_datetime("2026-06-" + frame["start"])
    return frame.assign(customers="1200")


RUNS = ranked(
    ("new", "june.csv", JUNE, "20"),
    ("renamed", "may copy.csv", MAY, "25"),
    ("old", "may.csv", MAY, "01"),
)


def test_the_newest_was_used_for_the_first_time_last():
    june, may = split(RUNS)
    assert june.title == "june.csv (bbbbbbbb, 1,200 customers), first used 2026-06-20"
    assert may.title == "may copy.csv (aaaaaaaa, 1,200 customers), first used 2026-06-01"
    assert list(may.runs["run_id"]) == ["renamed", "old"]


@pytest.mark.parametrize(
    ("wanted", "runs"),
    [
        ("newest", ["new"]),
        ("june.csv", ["new"]),
        ("may.csv", ["renamed", "old"]),
        ("may copy.csv", ["renamed", "old"]),
    ],
)
def test_one_is_chosen_by_any_name_it_had(wanted, runs):
    assert list(choose(RUNS, wanted).runs["run_id"]) == runs


def test_equal_names_with_other_content_are_not_guessed():
    twice = ranked(("a", "x.csv", MAY, "01"), ("b", "x.csv", JUNE, "02"))
    with pytest.raises(ConfigError, match=r"2 data sets have this name: x\.csv \(bbbbbbbb"):
        choose(twice, "x.csv")
    with pytest.raises(ConfigError, match=r"Allowed: newest, x\.csv"):
        choose(twice, "y.csv")


def test_runs_without_a_digest_or_a_name_are_a_data_set_too():
    found = split(ranked(("a", None, None, "02"), ("b", "x.csv", MAY, "01")))
    assert [each.title for each in found] == [
        "unnamed data (1,200 customers), first used 2026-06-02",
        "x.csv (aaaaaaaa, 1,200 customers), first used 2026-06-01",
    ]
    assert title(None, None, None) == "unnamed data"
