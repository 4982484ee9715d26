"""Places of runs in a real store: who has one, when it is written again, and when it is not."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

import pytest

from segmentation.errors import TrackingError
from segmentation.experiments import logged_ranks, ranking
from segmentation.tracking import view
from segmentation.tracking.run_metrics import EVIDENCE_VERSION
from segmentation.tracking.runs import finished_runs
from segmentation.tracking.store import Store, open_store

PLACES = ("rank", "rank_order", "sweep_rank")


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri, "ranked")


def log_run(store: Store, name: str, gap: float, *, data: str = "a" * 64, **tags: str) -> str:
    """Log what the ranking reads of a run; a higher gap is better."""
    tags |= {"structure": "yes", "confidence": "agreed", "config_hash": f"c{name}"}
    tags |= {"data_sha256": data, "evidence_version": EVIDENCE_VERSION}
    run = store.client.create_run(store.experiment_id, run_name=name, tags=tags)
    run_id = str(run.info.run_id)
    for key, value in {"k": 3, "stability": 0.9, "gap": gap}.items():
        store.client.log_metric(run_id, key, value)
    store.client.log_param(run_id, "data", "customers.csv")
    store.client.set_terminated(run_id)
    return run_id


def log_all(store: Store, most: int = 200) -> None:
    logged_ranks.log_all(store, ranking.rank(finished_runs(store)), most=most)


def places(store: Store) -> dict[str, tuple[object, ...]]:
    """Return the places in each run, and the tag of those further down."""
    found = {}
    for run in store.client.search_runs([store.experiment_id]):
        numbers = [run.data.metrics.get(name) for name in PLACES]
        found[str(run.info.run_name)] = (*numbers, run.data.tags.get("rank"))
    return found


def in_the_ui(store: Store) -> list[str]:
    """Return the names of the runs in the order of the saved view."""
    found = store.client.search_runs(
        [store.experiment_id], "metrics.k > 0", order_by=["metrics.`rank_order` ASC"]
    )
    return [str(run.info.run_name) for run in found]


def writes(store: Store, runs: Sequence[str]) -> int:
    return sum(
        len(store.client.get_metric_history(run_id, name)) for run_id in runs for name in PLACES
    )


def test_the_ui_shows_the_order_of_the_ranking(store):
    same = "c:" + "0110" * 5
    # The last of the equal runs is the newest, which MLflow would show first.
    log_run(store, "worst", 1.0)
    log_run(store, "best", 9.0, partition=same)
    log_run(store, "middle", 5.0)
    log_run(store, "equal", 4.0, partition=same)
    log_run(store, "other data", 0.5, data="b" * 64)
    log_all(store)
    ranked = ranking.rank(finished_runs(store))
    assert in_the_ui(store) == list(ranked["run"])
    assert in_the_ui(store) == ["other data", "best", "equal", "middle", "worst"]
    assert {name: place[0] for name, place in places(store).items()} == {
        "best": 1,
        "equal": 1,
        "middle": 2,
        "worst": 3,
        "other data": 1,
    }


def test_what_runs_have_is_not_written_again(store):
    ids = [log_run(store, f"r{gap}", gap) for gap in (3.0, 2.0, 1.0)]
    log_all(store)
    before = writes(store, ids)
    assert before == 6
    log_all(store)
    assert writes(store, ids) == before
    # A new last run changes nothing above it.
    log_run(store, "last", 0.5)
    log_all(store)
    assert writes(store, ids) == before


def test_runs_further_down_are_marked_and_come_back(store):
    first = {f"r{gap:g}": log_run(store, f"r{gap:g}", gap) for gap in (5.0, 4.0, 3.0, 2.0)}
    log_all(store, most=2)
    assert places(store) == {
        "r5": (1, 1, None, None),
        "r4": (2, 2, None, None),
        "r3": (None, None, None, "below 2"),
        "r2": (None, None, None, "below 2"),
    }
    # A better run pushes one out: its number must not stay among the first.
    log_run(store, "r6", 6.0)
    log_all(store, most=2)
    assert in_the_ui(store)[:3] == ["r6", "r5", "r4"]
    assert places(store)["r4"] == (3, 3, None, "below 2")
    before = writes(store, [*first.values()])
    log_run(store, "r7", 7.0)
    log_all(store, most=2)
    assert in_the_ui(store)[:2] == ["r7", "r6"]
    # Only r5, which falls out now, is written: r4 was, twice, and r3 never had a place.
    assert [writes(store, [first[name]]) for name in ("r5", "r4", "r3")] == [6, 4, 0]
    assert writes(store, [*first.values()]) == before + 2
    # Those above it are deleted: it is among the first again.
    for run in store.client.search_runs([store.experiment_id], "metrics.gap > 5.5"):
        store.client.delete_run(run.info.run_id)
    log_all(store, most=2)
    assert places(store)["r4"] == (2, 2, None, None)
    assert in_the_ui(store)[:2] == ["r5", "r4"]


def test_a_large_old_store_is_marked_in_several_calls(store):
    for gap in range(5):
        log_run(store, f"r{gap}", gap)
    marked = []
    for _ in range(3):
        log_all(store, most=2)
        marked.append(sum(place[-1] == "below 2" for place in places(store).values()))
    assert marked == [2, 3, 3]


def test_a_single_run_writes_its_own_place_only(store):
    ids = [log_run(store, f"r{gap:g}", gap) for gap in (5.0, 3.0)]
    log_all(store)
    before = writes(store, ids)
    log_run(store, "new", 4.0)
    new = finished_runs(store).iloc[0].to_dict()
    logged_ranks.log_new(store, [new])
    assert places(store)["new"] == (2, 2, None, None)
    assert writes(store, ids) == before
    # Of two runs in one line the newer one is shown first, where it belongs.
    assert in_the_ui(store) == ["r5", "new", "r3"]
    log_run(store, "bad", 1.0)
    logged_ranks.log_new(store, [finished_runs(store).iloc[0].to_dict()], most=3)
    assert places(store)["bad"] == (None, None, None, "below 3")


def test_an_old_store_is_upgraded_by_a_sweep_but_not_by_a_single_run(store):
    """A fit in a large store need not wait until all of its runs are written."""
    old = json.dumps(json.loads(view.experiment_tags()[view.VIEW_TAG]) | {"version": 1})
    store.client.set_experiment_tag(store.experiment_id, view.VIEW_TAG, old)
    log_run(store, "old", 5.0)
    log_run(store, "new", 4.0, sweep_id="s1")
    new = finished_runs(store, sweep_id="s1")
    logged_ranks.log_new(store, new.to_dict("records"))
    assert places(store) == {"old": (None, None, None, None), "new": (2, 2, None, None)}
    tags = store.client.get_experiment(store.experiment_id).tags
    assert tags[view.VIEW_TAG] == old
    logged_ranks.log_new(store, new.to_dict("records"), sweep=ranking.rank(new))
    assert places(store) == {"old": (1, 1, None, None), "new": (2, 2, 1, None)}
    assert store.client.get_experiment(store.experiment_id).tags[view.VIEW_TAG] != old


def test_a_sweep_writes_places_within_it_and_renumbers_the_others(store):
    log_run(store, "alone", 4.0)
    log_all(store)
    log_run(store, "s first", 5.0, sweep_id="s1")
    log_run(store, "s second", 3.0, sweep_id="s1")
    sweep = finished_runs(store, sweep_id="s1")
    logged_ranks.log_new(store, sweep.to_dict("records"), sweep=ranking.rank(sweep))
    assert places(store) == {
        "s first": (1, 1, 1, None),
        "alone": (2, 2, None, None),
        "s second": (3, 3, 2, None),
    }


def test_a_sweep_that_was_killed_gets_its_places_later(store):
    log_run(store, "a", 5.0, sweep_id="s1")
    log_run(store, "b", 3.0, sweep_id="s1")
    log_all(store)
    assert [place[2] for _, place in sorted(places(store).items())] == [1, 2]
    log_run(store, "c", 4.0, sweep_id="s1")
    logged_ranks.log_sweep(store, ranking.rank(finished_runs(store, sweep_id="s1")))
    assert [place[2] for _, place in sorted(places(store).items())] == [1, 3, 2]


def test_a_refused_write_is_an_error_of_tracking(store):
    log_run(store, "a", 5.0)
    ranked = ranking.rank(finished_runs(store))
    refuse_writes(store.uri)
    with pytest.raises(TrackingError):
        logged_ranks.log_all(store, ranked)


def refuse_writes(uri: str) -> None:
    """Let the database refuse new metrics, as a server without the right to write would."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        for table in ("metrics", "latest_metrics"):
            for event in ("INSERT", "UPDATE"):
                database.execute(
                    f"CREATE TRIGGER no_{event}_{table} BEFORE {event} ON {table} "
                    "WHEN NEW.key LIKE '%rank%' BEGIN SELECT RAISE(ABORT, 'read-only'); END"
                )


def test_places_are_no_columns_for_readers(store):
    log_run(store, "a", 5.0)
    log_all(store)
    ranked = ranking.rank(finished_runs(store))
    text = ranking.render(ranked, form="csv", top=1)
    header = text.splitlines()[0].split(",")
    assert "rank" in header
    assert not [name for name in header if name.startswith("logged_")]
