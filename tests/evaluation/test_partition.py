"""A partition fits into a tag, names the same customers in every run, and ignores the ids."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from segmentation.evaluation.partition import ALPHABET, KEPT, decode, encode

#: What MLflow allows in a tag.
LONGEST_TAG = 8_000


def ids(n: int) -> pd.Series:
    return pd.Series([f"customer {i}" for i in range(n)])


@pytest.mark.parametrize("n", [2, 200, KEPT, KEPT + 1, 250_000])
def test_it_fits_into_a_tag_and_comes_back(n: int) -> None:
    labels = np.arange(n) % 60
    text = encode(ids(n), labels)
    assert text is not None
    assert len(text) < LONGEST_TAG
    assert text.isascii()
    assert text.isprintable()
    found = decode(text)
    assert found is not None
    assert len(found.labels) == min(n, KEPT)
    assert len(set(found.labels)) == min(n, 60)


def test_the_customers_kept_are_those_with_the_smallest_hashes() -> None:
    table = ids(5_000)
    hashes = pd.util.hash_array(table.to_numpy(dtype=object), categorize=False)
    labels = np.zeros(5_000, np.int32)
    labels[hashes.argsort()[:KEPT][::2]] = 1
    text = encode(table, labels)
    assert text is not None
    assert text.endswith(":" + "10" * (KEPT // 2))


def test_the_order_of_customers_does_not_matter_and_other_customers_have_another_key() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 300)
    order = np.random.default_rng(1).permutation(300)
    assert encode(ids(300), labels) == encode(ids(300).iloc[order], labels[order])
    keys = {decode(encode(ids(n), labels[:n])).key for n in (298, 299, 300)}  # type: ignore[union-attr]
    assert len(keys) == 3


def test_numbers_of_segments_do_not_matter() -> None:
    first, second = (
        decode(encode(ids(6), np.array(v))) for v in ([0, 0, 1, 2, 2, 1], [5, 5, 9, 0, 0, 9])
    )
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.labels, second.labels)


def test_too_many_segments_have_no_text() -> None:
    assert len(ALPHABET) == len(set(ALPHABET)) >= 60
    most = np.arange(len(ALPHABET))
    assert encode(ids(len(ALPHABET)), most) is not None
    assert encode(ids(len(ALPHABET) + 1), np.arange(len(ALPHABET) + 1)) is None


@pytest.mark.parametrize("text", [None, np.nan, "", "0011", "key:", "key:00 1", "key:0é1", 3])
def test_anything_else_is_no_partition(text: object) -> None:
    assert decode(text) is None
