"""Adjusted Rand index between runs, whatever their ids and row order."""

from __future__ import annotations

import pandas as pd
import pytest

from segmentation.evaluation.agreement import agreement, sentence


def test_ids_and_order_do_not_matter() -> None:
    first = pd.Series([0, 0, 1, 1, 2, 2], index=list("abcdef"))
    renamed = pd.Series([5, 5, 3, 3, 4, 4], index=list("abcdef"))[::-1]
    other = pd.Series([0, 1, 0, 1, 0, 1], index=list("abcdef"))
    table = agreement({"first": first, "renamed": renamed, "other": other})
    assert table.loc["first", "renamed"] == 1
    assert table.loc["first", "other"] < 0.1
    assert (table == table.T).all().all()
    assert "some do not" in sentence(table)


def test_only_common_customers_count() -> None:
    first = pd.Series([0, 0, 1, 1], index=list("abcd"))
    second = pd.Series([7, 8, 8, 9], index=list("bcdz"))
    assert agreement({"x": first, "y": second}).loc["x", "y"] == pytest.approx(1)


def test_nothing_to_compare() -> None:
    assert sentence(agreement({})) == ""
    apart = agreement({"x": pd.Series([0], index=["a"]), "y": pd.Series([0], index=["b"])})
    assert sentence(apart) == ""
