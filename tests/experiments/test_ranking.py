"""The ranking follows what is comparable, shows equal runs as one answer, and says why."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from conftest import REPO
from segmentation.cli.commands import COMMANDS
from segmentation.errors import ConfigError
from segmentation.evaluation.partition import encode
from segmentation.experiments.advice import advice
from segmentation.experiments.answers import SAME, openers
from segmentation.experiments.ranking import first_of, rank, render, why_first
from segmentation.experiments.ranking_order import CRITERIA, ORDER
from segmentation.experiments.sweep import agreement_of_best
from segmentation.tracking.run_metrics import EVIDENCE_VERSION

IDS = pd.Series([f"c{i}" for i in range(12)])


def partition(*labels: int) -> str:
    text = encode(IDS[: len(labels)], np.array(labels))
    assert text is not None
    return text


def runs(*rows: tuple) -> pd.DataFrame:
    names = ["run", "structure", "confidence", "stability", "gap", "silhouette", "scaling"]
    frame = pd.DataFrame(rows, columns=names)
    frame["features"] = "f"
    frame["k"] = 3
    frame["explained_variance"] = frame["wcss"] = frame["smallest_share"] = 0.5
    frame["reference_silhouette"] = frame["reference_explained_variance"] = 0.4
    frame["reference_wcss"] = 10.0
    frame["stability_high"] = frame["stability"]
    frame["gap_se"] = 0.1
    frame["evidence_version"] = EVIDENCE_VERSION
    frame["careful"] = frame["partition"] = None
    frame["data_sha256"], frame["data"], frame["customers"] = "d", "may.csv", "60"
    frame["start"] = pd.date_range("2026-01-01", periods=len(frame))
    frame["run_id"] = frame["run"] + "-id"
    frame["config_hash"] = frame["run"]
    frame["artifact_uri"] = frame["sweep_id"] = ""
    return frame


RUNS = runs(
    ("noise", "no", None, np.nan, np.nan, 0.9, "none"),
    ("untested", "untested", None, np.nan, np.nan, 0.8, "none"),
    ("contested", "yes", "contested", 0.99, 9.0, 0.7, "none"),
    ("shaky", "yes", "agreed", 0.6, 9.0, 0.6, "none"),
    ("small gap", "yes", "agreed", 0.95, 2.0, 0.5, "standard"),
    ("best", "yes", "agreed", 0.9, 7.0, 0.1, "standard"),
)


def pair(**changes: tuple) -> pd.DataFrame:
    """Return two runs, a and b, that differ in these columns only."""
    both = runs(*[(name, "yes", "agreed", 0.9, 7.0, 0.5, "none") for name in "ab"])
    return rank(both.assign(**{name: list(values) for name, values in changes.items()}))


def test_order_is_structure_confidence_stability_gap() -> None:
    ranked = rank(RUNS)
    assert list(ranked.run) == ["best", "small gap", "shaky", "contested", "untested", "noise"]
    assert list(ranked["rank"]) == [1, 2, 3, 4, 5, 6]
    assert ranked["same_as"].isna().all()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"structure": ("yes", "untested")}, " by structure: yes against untested."),
        ({"careful": (None, "a gender split")}, ", which has a warning."),
        ({"confidence": ("agreed", "contested")}, " by confidence: agreed against contested."),
        ({"confidence": ("agreed", None)}, " by confidence: agreed against none."),
        (
            {"stability": (0.86, 0.84), "stability_high": (0.88, 0.849), "gap": (3, 9)},
            " by stability: 0.86 (up to 0.88) against 0.84 (up to 0.85).",
        ),
        (
            {"stability": (0.83, 0.84), "stability_high": (0.86, 0.84)},
            " by stability: 0.83 (up to 0.86) against 0.84.",
        ),
        (
            {"stability": (0.5, np.nan), "stability_high": (np.nan,) * 2},
            "by stability: 0.5 against none.",
        ),
        ({"stability": (0.97, np.nan), "stability_high": (0.97, 0.97)}, "0.97 against none."),
        ({"gap": (9, 7), "stability": (0.86, 0.99)}, " by gap: 9 against 7."),
        ({"gap": (9, 9), "gap_se": (0.2, 0.1), "k": (3, 4)}, " by fewer segments: 3 against 4"),
        (
            {"gap": (8.9, 9), "stability": (0.97, 0.96)},
            ", tied in gap (8.9 and 9), by stability: 0.97 against 0.96.",
        ),
        ({"gap": (9, 7), "evidence_version": ("2", None)}, "by gap: 9 against none that can"),
        (
            {},
            "It stands before b, tied in gap (7 and 7), but nothing that counts separates",
        ),
    ],
)
def test_each_criterion_decides_when_those_before_it_are_equal(changes: dict, why: str) -> None:
    ranked = pair(**changes)
    assert list(ranked["run"]) == ["a", "b"]
    assert why in why_first(ranked)
    turned = pair(**{name: values[::-1] for name, values in changes.items()})
    assert list(turned["run"]) == (["b", "a"] if changes else ["a", "b"])


def test_noise_of_the_bootstrap_does_not_decide() -> None:
    """0.99 against 0.987 is chance: both are very stable, and the gap decides."""
    assert list(pair(stability=(0.967, 0.99), gap=(12.7, 3.3))["run"]) == ["a", "b"]
    # The interval of b's stability reaches the band of a's.
    assert list(pair(stability_high=(0.9, 0.86), gap=(3, 9))["run"]) == ["b", "a"]


def test_a_tie_belongs_to_its_opener() -> None:
    """c is tied with b, but b is not the opener."""
    rows = [("a", 10.0, 0.90), ("b", 9.0, 0.91), ("c", 8.0, 0.92), ("d", 7.5, 0.93)]
    tied = runs(*[(n, "yes", "agreed", stability, gap, 0.5, "none") for n, gap, stability in rows])
    assert list(rank(tied.assign(gap_se=0.7))["run"]) == ["b", "a", "d", "c"]


def test_equal_runs_are_one_answer_listed_below_its_best_run() -> None:
    one, other = partition(0, 0, 0, 1, 1, 2), partition(0, 0, 1, 1, 2, 2)
    renumbered = partition(2, 2, 2, 0, 0, 1)
    ranked = rank(RUNS.assign(partition=[None, one, other, other, renumbered, one]))
    assert list(ranked["run"]) == ["best", "small gap", "untested", "shaky", "contested", "noise"]
    assert list(ranked["rank"]) == [1, 1, 1, 2, 2, 3]
    assert list(ranked["same_as"]) == [None, "best-id", "best-id", None, "shaky-id", None]
    lines = render(ranked, form="table", top=6).splitlines()
    assert [line[:4].strip() for line in lines[1:]] == ["1", "= 1", "= 1", "2", "= 2", "3"]
    assert why_first(ranked) == "It comes before shaky by stability: 0.9 against 0.6."
    same = rank(RUNS.assign(partition=one))
    assert why_first(same) == "All 6 runs give this answer."


def test_a_damaged_partition_stands_alone() -> None:
    """Whatever somebody has done to the tag, the other runs can still be compared."""
    whole = partition(0, 0, 0, 1, 1, 2)
    for damaged in (whole[:-2], f"{whole}1", whole.replace(":", ""), f"{whole}é", ":", ""):
        ranked = rank(RUNS.assign(partition=[whole, damaged, whole, whole, None, whole]))
        assert list(ranked["rank"].value_counts().sort_index()) == [4, 1, 1], damaged
        assert ranked.loc[ranked["run"] == "untested", "same_as"].isna().all()
        assert agreement_of_best(ranked).shape[0] >= 1


def test_what_is_given_up_is_said() -> None:
    told = {
        (2, 5, 0.35, 0.62): "three fewer segments explain 35 % instead of 62 % of the same columns",
        (5, 4, 0.62, 0.41): "one more segment explains 62 % instead of 41 % of the same columns",
        (3, 3, 0.62, 0.41): "as many segments explain 62 % instead of 41 % of the same columns",
        (3, 4, 0.62, 0.62): "one fewer segment explains 62 % of the same columns",
    }
    for (own, other, explained, instead), price in told.items():
        ranked = pair(k=(own, other), gap=(9, 7), reference_explained_variance=(explained, instead))
        expected = f"It comes before b by gap: 9 against 7; {price}."
        assert why_first(ranked).replace("\N{NO-BREAK SPACE}", " ") == expected


def test_data_sets_follow_each_other_the_newest_first() -> None:
    """The newest is the one that was first used last, whatever is run on old data again."""
    mixed = rank(RUNS.assign(data_sha256=["old", "new", "old", "new", None, "old"]))
    assert list(mixed["data_sha256"].fillna("none")) == ["none", "new", "new", *["old"] * 3]
    assert list(mixed["run"]) == ["small gap", "shaky", "untested", "best", "contested", "noise"]
    assert list(mixed["rank"]) == [1, 1, 2, 1, 2, 3]
    text = partition(0, 0, 1)
    same = rank(RUNS.assign(data_sha256=["old", "new"] * 3, partition=text))
    assert same["same_as"].isna().sum() == 2
    assert why_first(mixed) == ""


def test_runs_of_earlier_versions_stand_alone_and_say_so() -> None:
    earlier = RUNS.drop(columns=["stability_high", "gap_se", "partition"])
    ranked = rank(earlier.assign(evidence_version=None))
    # Of the two very stable ones, neither gap counts: the stability decides.
    assert list(ranked["run"])[:3] == ["small gap", "best", "shaky"]
    assert ranked["same_as"].isna().all()
    assert any("4 of these runs were made by an earlier version" in n for n in advice(ranked))
    assert not any("earlier version" in note for note in advice(rank(RUNS)))


def test_sort_on_a_column_is_best_first() -> None:
    ranked = rank(RUNS, sort="silhouette")
    assert ranked.run[0] == "noise"
    assert ranked["rank"][0] == 6
    assert rank(RUNS, sort="gap").run[0] == "shaky"
    with pytest.raises(ConfigError, match="silhouette"):
        rank(RUNS, sort="beauty")


def test_no_runs() -> None:
    assert rank(pd.DataFrame()).empty
    assert why_first(rank(RUNS.head(1))) == ""


def test_formats() -> None:
    ranked = rank(RUNS)
    assert render(ranked, form="table", top=2).count("\n") == 2
    assert render(ranked, form="markdown", top=6).splitlines()[1].startswith("| --- |")
    assert json.loads(render(ranked, form="json", top=1))[0]["run"] == "best"
    assert "partition" not in render(ranked, form="json", top=1)
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
    assert any("4 data sets" in note for note in advice(mixed))


def test_the_first_run_on_each_data_set_has_its_own_notes() -> None:
    two = RUNS.assign(data_sha256=["a" * 64] * 3 + ["b" * 64] * 3)
    notes = advice(rank(two.assign(careful="a gender split", structure="untested")))
    for digest in ("aaaaaaaa", "bbbbbbbb"):
        first = f"the first run on may.csv ({digest}, 60 customers)"
        assert f"Be careful with {first}: a gender split." in notes
        assert any(
            note.startswith(f"Cluster structure was not tested in {first}") for note in notes
        )


def test_the_order_is_said_alike_everywhere() -> None:
    assert ORDER in " ".join(COMMANDS["compare"].header.split())
    assert any(f"Ranked by {ORDER}." in note for note in advice(rank(RUNS)))
    _, readme = (REPO / "README.md").read_text().split("`segment compare` ranks by")
    found = [readme.split(".")[0].find(word) for word in CRITERIA.values()]
    assert min(found) > 0
    assert found == sorted(found)


RUN = st.fixed_dictionaries(
    {
        "structure": st.sampled_from(["yes", "no", "untested", None]),
        "careful": st.sampled_from([None, "a split"]),
        "confidence": st.sampled_from(["agreed", "contested", None]),
        "stability": st.sampled_from([0.5, 0.74, 0.8, 0.9, 1.0, np.nan]),
        "stability_high": st.sampled_from([0.6, 0.76, 0.9, np.nan]),
        "gap": st.sampled_from([1.0, 2.0, 2.1, 3.0, 9.0, np.nan]),
        "gap_se": st.sampled_from([0.1, 0.6, np.nan]),
        "evidence_version": st.sampled_from([EVIDENCE_VERSION, None]),
        "k": st.integers(1, 4),
        "config_hash": st.sampled_from(["h1", "h2", None]),
        "data_sha256": st.sampled_from(["d", "d", "e", None]),
        "partition": st.one_of(
            st.none(),
            st.lists(st.integers(0, 2), min_size=8, max_size=8).map(lambda v: partition(*v)),
        ),
        "day": st.integers(0, 3),
    }
)


@settings(max_examples=100, deadline=None)
@given(st.lists(RUN, min_size=1, max_size=14), st.randoms(use_true_random=False))
def test_the_order_never_depends_on_the_rows_order(rows: list[dict], chance: object) -> None:
    frame = pd.DataFrame(rows).assign(run_id=[f"r{i}" for i in range(len(rows))])
    frame["start"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(frame.pop("day"), unit="D")
    order = list(range(len(frame)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    ranked, other = rank(frame), rank(frame.iloc[order])
    pd.testing.assert_frame_equal(ranked, other)
    assert sorted(ranked["run_id"]) == sorted(frame["run_id"])
    assert frame["run_id"].iloc[first_of(frame)] == ranked["run_id"].iloc[0]
    for _, data in ranked.groupby(ranked["data_sha256"].fillna("")):
        # Answers are numbered from 1 without a gap, each opened by its first run.
        assert list(data["rank"].drop_duplicates()) == list(range(1, data["rank"].nunique() + 1))
        assert (data["same_as"].isna() == ~data["rank"].duplicated()).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([5, 40, 60, 700]),
    st.sampled_from([0.0, 0.003, 0.01, 0.05]),
    st.integers(1, 6),
)
def test_a_run_joins_the_first_answer_it_agrees_with(
    seed: int, n: int, moved: float, k: int
) -> None:
    rng = np.random.default_rng(seed)
    base = [rng.integers(0, k, n) for _ in range(3)]
    labels = []
    for _ in range(12):
        copy = rng.permutation(k)[base[rng.integers(3)]]
        labels.append(np.where(rng.random(n) < moved, rng.integers(0, k, n), copy))
    ids = pd.Series([f"c{i}" for i in range(n)])
    leaders: list[int] = []
    expected = []
    for place, own in enumerate(labels):
        found = [p for p in leaders if adjusted_rand_score(labels[p], own) >= SAME]
        leaders += [] if found else [place]
        expected.append(found[0] if found else place)
    assert openers([encode(ids, own) for own in labels]) == expected
