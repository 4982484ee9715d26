"""What a process knows of the sweep it works on, in a real store."""

from __future__ import annotations

import pytest

from segmentation.experiments import sweep
from segmentation.experiments.run import SweepJob
from segmentation.tracking import run_logger
from segmentation.tracking.store import Store, open_store


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri, "studied")


def begin(store: Store) -> SweepJob:
    return sweep.start(store, "s1", name="sweep", question="", command="", customers=None, total=3)


def log_run(
    store: Store, name: str, *, status: str = "FINISHED", code: str | None = None, **tags: str
) -> str:
    version = run_logger.code_version() if code is None else code
    tags |= {"sweep_id": "s1", "config_hash": name, "code_version": version}
    run = store.client.create_run(store.experiment_id, run_name=name, tags=tags)
    store.client.log_metric(run.info.run_id, "k", 3)
    store.client.set_terminated(run.info.run_id, status)
    return str(run.info.run_id)


def test_what_was_done_before_is_known_from_the_start(store):
    log_run(store, "a")
    job = begin(store)
    assert job.done == 1
    assert sweep.is_done(store, job, "a")
    assert not sweep.is_done(store, job, "b")


def test_what_others_finish_is_known_at_the_next_look(store):
    job = begin(store)
    log_run(store, "a", structure="no")
    log_run(store, "b", structure="yes")
    log_run(store, "c", status="FAILED", structure="yes", confidence="agreed")
    assert not sweep.is_done(store, job, "b")
    assert sweep.so_far(store, job) == (2, "b")
    assert sweep.is_done(store, job, "b")
    assert not sweep.is_done(store, job, "c")
    # Within the time that looks overlap it is read once more and counted once.
    assert sweep.so_far(store, job) == (2, "b")
    assert list(sweep.ranking(store, job)["run"]) == ["b", "a"]


def test_a_process_of_its_own_looks_before_its_first_job(store, monkeypatch):
    job = begin(store)
    log_run(store, "a")
    monkeypatch.setattr(sweep, "_seen", {})
    assert sweep.is_done(store, job, "a")


def test_runs_of_older_code_do_not_count(store):
    log_run(store, "a", code="0+other", structure="yes")
    job = begin(store)
    assert job.done == 0
    assert not sweep.is_done(store, job, "a")
    assert sweep.so_far(store, job) == (0, "")
    assert sweep.ranking(store, job).empty


def test_of_one_configuration_the_newest_run_counts(store):
    job = begin(store)
    log_run(store, "a")
    newest = log_run(store, "a")
    assert sweep.so_far(store, job) == (1, "a")
    assert list(sweep.ranking(store, job)["run_id"]) == [newest]


def test_a_sweep_opened_again_begins_anew(store):
    job = begin(store)
    run = log_run(store, "a")
    sweep.so_far(store, job)
    store.client.delete_run(run)
    again = begin(store)
    assert again.parent_run_id == job.parent_run_id
    assert again.done == 0
    assert not sweep.is_done(store, again, "a")
