"""Runs are found by id, by the beginning of an id or by name; anything else is explained."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run

from segmentation.errors import TrackingError
from segmentation.evaluation.partition import encode
from segmentation.tracking.run_lookup import find_segmentation, read_segmentation, short_ids
from segmentation.tracking.runs import customer_segments, local_path
from segmentation.tracking.store import Store, open_store


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri, "here")


def make(store: Store, name: str = "a run", *, k: int = 2, status: str = "FINISHED") -> Run:
    """A run with a table of segments, as much of one as a look-up needs."""
    run = store.client.create_run(store.experiment_id, run_name=name)
    if k:
        store.client.log_metric(run.info.run_id, "k", k)
    store.client.set_terminated(run.info.run_id, status)
    return store.client.get_run(run.info.run_id)


def id_of(run: Run) -> str:
    return str(run.info.run_id)


def test_ids_beginnings_and_names_are_found(store: Store) -> None:
    runs = [make(store, name) for name in ("one", """it's "two" """, "x')=1 or ('a'='a")]
    for run in runs:
        ids = [id_of(each) for each in runs]
        unique = next(
            n for n in range(1, 33) if sum(i.startswith(id_of(run)[:n]) for i in ids) == 1
        )
        for given in (id_of(run), id_of(run).upper(), id_of(run)[:unique]):
            assert id_of(find_segmentation(store, given)) == id_of(run)
    assert id_of(find_segmentation(store, "one")) == id_of(runs[0])
    assert id_of(find_segmentation(store, "x')=1 or ('a'='a")) == id_of(runs[2])


def test_a_whole_id_may_belong_to_another_experiment(store: Store, store_uri: str) -> None:
    other = make(open_store(store_uri, "there"))
    assert id_of(find_segmentation(store, id_of(other))) == id_of(other)
    with pytest.raises(TrackingError, match="no run of experiment 'here'"):
        find_segmentation(store, id_of(other)[:8])


def test_an_ambiguous_name_or_beginning_lists_the_candidates(store: Store) -> None:
    runs = [make(store, "same") for _ in range(18)]
    with pytest.raises(TrackingError, match="'same' matches 18 runs") as error:
        find_segmentation(store, "same")
    listed = re.findall(r"([0-9a-f]{8,}) \(same\)", str(error.value))
    assert all(any(id_of(run).startswith(each) for run in runs) for each in listed)
    assert 2 <= len(listed) <= 6
    # Of 18 ids, two begin with the same of 16 digits.
    first = [id_of(run)[0] for run in runs]
    shared = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(TrackingError, match=f"'{shared}' matches"):
        find_segmentation(store, shared)


@pytest.mark.parametrize("given", ["fffffff", "f" * 32, "no such run", "%", "", "_", "'", "\"'"])
def test_an_unknown_run_is_refused_with_the_newest(store: Store, given: str) -> None:
    with pytest.raises(TrackingError, match="It has no finished runs"):
        find_segmentation(store, given)
    run = make(store, "the one")
    with pytest.raises(TrackingError, match=rf"{id_of(run)[:8]} \(the one\)"):
        find_segmentation(store, given)


def test_runs_without_segments_are_refused(store: Store) -> None:
    for run, why in (
        (make(store, "failed", status="FAILED"), "that is FAILED: only finished"),
        (make(store, "parent", k=0), "without segments"),
    ):
        for given in (id_of(run), id_of(run)[:20], run.info.run_name):
            with pytest.raises(TrackingError, match=why):
                find_segmentation(store, given)
    gone = make(store, "gone")
    store.client.delete_run(id_of(gone))
    with pytest.raises(TrackingError, match=f"deleted.*restore --run-id {id_of(gone)}"):
        find_segmentation(store, id_of(gone))


def test_of_runs_with_one_name_the_only_finished_one_is_meant(store: Store) -> None:
    make(store, "same", status="FAILED")
    run = make(store, "same")
    assert id_of(find_segmentation(store, "same")) == id_of(run)


def test_a_run_whose_artifacts_are_gone_is_refused(store: Store) -> None:
    with pytest.raises(TrackingError, match="moved or deleted"):
        read_segmentation(store, make(store))


def test_the_sample_in_the_tag_is_read(store: Store) -> None:
    ids, labels = pd.Series([f"{i:03}" for i in range(9)]), np.arange(9) % 3
    tag = encode(ids, labels)
    for text, k, known in ((tag, 3, True), (tag, 2, False), ("nonsense", 3, False)):
        run = make(store)
        folder = local_path(store, run.info.artifact_uri)
        assert folder is not None
        table = {"segment": range(k), "name": "n", "customers": 3, "share": 0.3}
        (folder / "tables").mkdir(parents=True)
        pd.DataFrame(table).to_json(folder / "tables/segments.json", orient="split", index=False)
        store.client.set_tag(id_of(run), "partition", text)
        sample = read_segmentation(store, find_segmentation(store, id_of(run))).sample
        assert (sample is not None) == known
        if sample is not None:
            assert sorted(sample) == sorted(labels)


@pytest.mark.parametrize("name", ["customer", "segment_name ", "0", 'kunde "x", y'])
def test_customer_ids_stay_text(store: Store, name: str) -> None:
    run = make(store)
    folder = local_path(store, run.info.artifact_uri)
    assert folder is not None
    ids = ["007", "7", "NA", "null", "1e5", "", "0x1"]
    table = pd.DataFrame({name: ids, "segment": 1, "segment_name": "NA", "distance": 0.5})
    write(table, folder)
    found = customer_segments(store, id_of(run), run.info.artifact_uri)
    assert found is not None
    assert found.index.tolist() == ids
    assert found.tolist() == [1] * len(ids)


def test_an_id_column_with_one_of_our_names(store: Store) -> None:
    """Twice in the header it is read; overwritten, as 0.1.0 did, the ids are lost."""
    run = make(store)
    folder = local_path(store, run.info.artifact_uri)
    assert folder is not None
    write(pd.DataFrame([["007", 1, "a", 0.5]], columns=["segment", "segment", "x", "y"]), folder)
    found = customer_segments(store, id_of(run), run.info.artifact_uri)
    assert found is not None
    assert found.to_dict() == {"007": 1}
    write(pd.DataFrame([[1, "a", 0.5]], columns=["segment", "segment_name", "distance"]), folder)
    assert customer_segments(store, id_of(run), run.info.artifact_uri) is None


def write(table: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "customers.csv", index=False)


def test_short_ids_tell_runs_apart() -> None:
    assert short_ids(["a" * 32, "a" * 30 + "bb"]) == ["a" * 31, "a" * 30 + "b"]
    assert short_ids(["a" * 32, "b" * 32]) == ["a" * 8, "b" * 8]
