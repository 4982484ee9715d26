"""Adjusted Rand index between runs, whatever the ids of their segments."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from segmentation.evaluation.agreement import agreement, sentence
from segmentation.evaluation.partition import Partition, decode, encode


def partition(labels: list[int], ids: str = "abcdefghijkl") -> Partition:
    found = decode(encode(pd.Series(list(ids[: len(labels)])), np.array(labels)))
    assert found is not None
    return found


def test_ids_do_not_matter() -> None:
    first, other = [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 2]
    table = agreement(
        {
            "first": partition(first),
            "renamed": partition([5, 5, 3, 3, 4, 4]),
            "other": partition(other),
        }
    )
    assert table.loc["first", "renamed"] == 1
    assert table.loc["first", "other"] == pytest.approx(adjusted_rand_score(first, other))
    assert (table == table.T).all().all()
    assert "some do not" in sentence(table)


def test_other_customers_cannot_be_compared() -> None:
    apart = agreement({"x": partition([0, 1]), "y": partition([0, 1], "bc")})
    assert np.isnan(apart.loc["x", "y"])
    assert sentence(apart) == ""
    assert sentence(agreement({})) == ""
