"""The ranking follows what is comparable, and says so."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from segmentation.errors import ConfigError
from segmentation.experiments.ranking import advice, rank, render, why_first


def runs(*rows: tuple) -> pd.DataFrame:
    names = ["run", "structure", "confidence", "stability", "gap", "silhouette", "scaling"]
    frame = pd.DataFrame(rows, columns=names)
    frame["features"] = "f"
    frame["k"] = 3
    frame["explained_variance"] = frame["wcss"] = frame["smallest_share"] = 0.5
    frame["reference_silhouette"] = frame["reference_explained_variance"] = 0.4
    frame["reference_wcss"] = 10.0
    frame["careful"] = None
    frame["data_sha256"] = "d"
    frame["start"] = pd.date_range("2026-01-01", periods=len(frame))
    frame["run_id"] = frame["run"] + "-id"
    frame["artifact_uri"] = frame["sweep_id"] = ""
    return frame


RUNS = runs(
    ("noise", "no", None, np.nan, np.nan, 0.9, "none"),
    ("untested", "untested", None, np.nan, np.nan, 0.8, "none"),
    ("contested", "yes", "contested", 0.99, 9.0, 0.7, "none"),
    ("shaky", "yes", "agreed", 0.6, 9.0, 0.6, "none"),
    ("small gap", "yes", "agreed", 0.9, 2.0, 0.5, "standard"),
    ("best", "yes", "agreed", 0.9, 7.0, 0.1, "standard"),
)


def test_order_is_structure_confidence_stability_gap() -> None:
    assert list(rank(RUNS).run) == [
        "best",
        "small gap",
        "shaky",
        "contested",
        "untested",
        "noise",
    ]


def test_order_does_not_depend_on_the_rows_order() -> None:
    shuffled = RUNS.sample(frac=1, random_state=3)
    assert list(rank(shuffled).run) == list(rank(RUNS).run)


def test_why_the_first_is_first() -> None:
    ranked = rank(RUNS)
    told = [why_first(ranked.iloc[place:]) for place in range(6)]
    assert told == [
        "It comes before small gap by gap: 7 against 2.",
        "It comes before shaky by stability: 0.9 against 0.6.",
        "It comes before contested by confidence: agreed against contested.",
        "It comes before untested by structure: yes against untested.",
        "It comes before noise by structure: untested against no.",
        "",
    ]
    twins = pd.concat([ranked.head(1)] * 2, ignore_index=True)
    assert "equals best in all ranked columns" in why_first(twins)
    careful = rank(RUNS.iloc[[4, 5]].assign(careful=[None, "a gender split"]))
    assert "small gap" in careful["run"][0]
    assert why_first(careful) == "It comes before best, which has a warning."


def test_sort_on_a_column_is_best_first() -> None:
    assert rank(RUNS, sort="silhouette").run[0] == "noise"
    with pytest.raises(ConfigError, match="silhouette"):
        rank(RUNS, sort="beauty")


def test_formats() -> None:
    ranked = rank(RUNS)
    assert render(ranked, form="table", top=2).count("\n") == 2
    assert render(ranked, form="markdown", top=6).splitlines()[1].startswith("| --- |")
    assert json.loads(render(ranked, form="json", top=1))[0]["run"] == "best"
    assert render(ranked, form="csv", top=6).splitlines()[1].startswith("best,")
    with pytest.raises(ConfigError, match="markdown"):
        render(ranked, form="pdf", top=1)
    with pytest.raises(ConfigError, match="top"):
        render(ranked, form="csv", top=0)


def test_advice_warns_of_different_data_and_spaces() -> None:
    same = rank(RUNS[RUNS.scaling == "none"])
    assert advice(same) == []
    assert any("not tested" in note for note in advice(rank(same[same.structure == "untested"])))
    assert any("own space" in note for note in advice(RUNS))
    careful = same.assign(careful="one column decides it all: this is a gender split")
    assert any("gender split" in note for note in advice(careful))
    mixed = same.assign(data_sha256=list("abcd"))
    assert any("4 different data sets" in note for note in advice(mixed))
