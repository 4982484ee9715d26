"""The comparison as text: it fits a terminal, and no name becomes markup or a control sequence."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from pairs import config, logged, pair_of

from segmentation.errors import ConfigError
from segmentation.experiments.pair_text import WIDTH, render_pair
from segmentation.experiments.run_pair import compare_pair
from segmentation.visualization.style import text_columns

HOSTILE = [
    "<script>alert(1)</script>",
    "a | b\\| c",
    "line\nbreak \x1b[31mred",
    "[click](http://x) ![i](http://x) `code` **bold**",
    "名前の列" * 30,
    "x" * 300,
]


def hostile_pair():
    k = len(HOSTILE)
    columns = ["<b>|\n", "名前の列" * 5, *(f"column_number_{i}" for i in range(9))]
    one = logged(range(k), names=HOSTILE, columns=columns, run=HOSTILE[0], data=HOSTILE[2])
    features = {"name": HOSTILE[3], "columns": [*columns, "x" * 120]}
    other = logged(
        [0] * k, names=HOSTILE[1:2], config=config(features=features), run=HOSTILE[1],
        ids=[f"{name}{i}" for i, name in enumerate(HOSTILE)], careful=HOSTILE[2],
    )  # fmt: skip
    return compare_pair(logged(range(k), names=HOSTILE, ids=[*other.customers.index]), other), one


def test_it_says_everything_in_order() -> None:
    other = config(scaling__name="robust")
    text = render_pair(pair_of([0, 0, 1, 1, 1], [0, 1, 1, 1, 1], config=other), form="table")
    found = [
        "A  money·standard·k2",
        "1 of 5 customers",
        "The ranking puts",
        "scaling.name  standard  robust",
        "A0  segment 0",
        "B0  segment 0",
        "Who is in which segment",
        "A0   1   1",
        "A0 → B1",
        "stability",
        "Not compared",
    ]
    places = [text.find(each) for each in found[:-1]]
    assert -1 not in places, text
    assert places == sorted(places)
    assert found[-1] in text


@pytest.mark.parametrize("k", [1, 2, 5, 11, 14, 40])
def test_it_fits_a_terminal(k: int) -> None:
    rng = np.random.default_rng(k)
    labels = [*range(k), *rng.integers(0, k, 1000)]
    moved = [*range(k), *rng.integers(0, k, 1000)]
    columns = [f"some_long_column_{i}" for i in range(12)]
    ids = [f"customer-{i:09}" for i in range(len(labels))]
    path = config(data__path="/a/very/long/path/" * 12)
    names = [f"very high income, low spending number {i}" for i in range(k)]
    a = logged(labels, ids=ids, names=names, columns=columns)
    b = logged(moved, ids=ids, columns=columns[:2], config=path)
    text = render_pair(compare_pair(a, b), form="table")
    assert max(text_columns(line) for line in text.splitlines()) <= WIDTH
    assert all(f"A{i}" in text and f"B{i}" in text for i in range(k))


def test_names_cannot_control_the_terminal() -> None:
    pair, one = hostile_pair()
    for each in (pair, compare_pair(one, logged([0] * 6))):
        text = render_pair(each, form="table")
        assert max(text_columns(line) for line in text.splitlines()) <= WIDTH
        assert "\x1b" not in text
        assert not any(line.startswith("break") for line in text.splitlines())


def test_names_are_text_in_markdown() -> None:
    pair, one = hostile_pair()
    for each in (pair, compare_pair(one, logged([0] * 6))):
        text = render_pair(each, form="markdown")
        assert "<" not in text
        assert not re.search(r"(?<!\\)[`\[]", text)
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len(rows) > 10
        cells = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows]
        # Within a table, each row has as many cells as its heading.
        heads = [i for i, row in enumerate(rows) if row.startswith("| --- ")]
        for at, end in zip(heads, [*(i - 1 for i in heads[1:]), len(rows)], strict=True):
            assert len({*cells[at - 1 : end]}) == 1


def test_json_is_one_object_with_everything() -> None:
    pair = pair_of([0, 0, 1, 1, 1], [0, 1, 1, 1, 1], stability=np.nan)
    found = json.loads(render_pair(pair, form="json"))
    assert found["runs"]["B"]["stability"] is None
    assert found["runs"]["A"]["start"] == "2026-01-02T03:04:00"
    customers = found["customers"]
    assert (customers["in_both"], customers["moved"]) == (5, 1)
    assert {"a": 0, "b": 1, "customers": 1} in customers["crosstab"]
    assert customers["moves"][0]["examples"] == ["2"]
    assert {each["name"] for each in found["criteria"]} >= {"structure", "gap", "wcss"}
    assert [row["medians"]["age"] for row in found["segments"]] == [1, 1, 2, 2]
    apart = pair_of([0, 1], [0, 1], customers=False)
    assert json.loads(render_pair(apart, form="json"))["customers"] is None


def test_csv_has_a_row_per_segment() -> None:
    pair, _ = hostile_pair()
    table = pd.read_csv(io.StringIO(render_pair(pair, form="csv")))
    assert len(table) == len(HOSTILE) + 1
    assert set(table["name"]) == set(HOSTILE)
    assert {"run_id", "jaccard", "median income"} <= {*table.columns}


def test_other_formats_are_refused() -> None:
    with pytest.raises(ConfigError, match="format=xml: allowed are table"):
        render_pair(pair_of([0, 1], [0, 1]), form="xml")
