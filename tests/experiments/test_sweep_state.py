"""What a process knows of the sweep it works on, in a real store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pandas as pd
import pytest

from segmentation.errors import TrackingError
from segmentation.experiments import sweep
from segmentation.experiments.sweep_session import SweepSession
from segmentation.tracking import process, run_logger
from segmentation.tracking.store import Store, open_store


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri, "studied")


def begin(store: Store) -> SweepSession:
    return sweep.start(
        store, "s1", name="sweep", question="", command="", params={}, table=None, total=3
    )


def end(session: SweepSession) -> None:
    """End a sweep without its summary."""
    assert session.heartbeat is not None
    session.heartbeat.stop()
    session.store.client.set_terminated(session.job.parent_run_id, "KILLED")


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
    session = begin(store)
    assert session.job.done == 1
    assert session.is_done("a")
    assert not session.is_done("b")


def test_what_others_finish_is_known_at_the_next_look(store):
    session = begin(store)
    log_run(store, "a", structure="no")
    log_run(store, "b", structure="yes")
    log_run(store, "c", status="FAILED", structure="yes", confidence="agreed")
    assert not session.is_done("b")
    session.look()
    assert session.so_far() == (2, "b")
    assert session.is_done("b")
    assert not session.is_done("c")
    # Within the time that looks overlap it is read once more and counted once.
    session.look()
    assert session.so_far() == (2, "b")
    assert list(session.ranking()["run"]) == ["b", "a"]


def test_a_process_of_its_own_looks_before_its_first_job(store):
    begun = begin(store)
    log_run(store, "a")
    joined = SweepSession(store, begun.job, is_joined=True)
    assert joined.is_done("a")


def test_runs_of_older_code_do_not_count(store):
    log_run(store, "a", code="0+other", structure="yes")
    session = begin(store)
    assert session.job.done == 0
    assert not session.is_done("a")
    session.look()
    assert session.so_far() == (0, "")
    assert session.ranking().empty


def test_of_one_configuration_the_newest_run_counts(store):
    session = begin(store)
    log_run(store, "a")
    newest = log_run(store, "a")
    session.look()
    assert session.so_far() == (1, "a")
    assert list(session.ranking()["run_id"]) == [newest]


def test_a_sweep_opened_again_begins_anew(store):
    session = begin(store)
    run = log_run(store, "a")
    session.look()
    store.client.delete_run(run)
    end(session)
    again = begin(store)
    assert again.job.parent_run_id == session.job.parent_run_id
    assert again.job.done == 0
    assert not again.is_done("a")


@pytest.mark.parametrize("reopened", [False, True], ids=["new", "reopened"])
def test_of_starts_at_once_one_wins(store, reopened):
    if reopened:
        log_run(store, "a")
        end(begin(store))
    together, refused = Barrier(4), []

    def start(_):
        together.wait()
        try:
            return begin(store)
        except TrackingError as error:
            refused.append(str(error))
            return None

    with ThreadPoolExecutor(4) as pool:
        sessions = [session for session in pool.map(start, range(4)) if session is not None]
    assert len(sessions) == 1
    assert len(refused) == 3
    assert all("sweep s1 is running already (process" in line for line in refused)
    (parent,) = store.client.search_runs([store.experiment_id], "tags.study = 'yes'")
    assert parent.info.run_id == sessions[0].job.parent_run_id
    assert not [
        tag for tag in store.client.get_experiment(store.experiment_id).tags if "lock" in tag
    ]
    # Once it has ended, the next may start.
    end(sessions[0])
    end(begin(store))


def test_a_sweep_whose_process_cannot_be_seen_is_not_joined(store):
    session = begin(store)
    other = {process.NAMESPACE: "pid:[1]"}
    for name, value in other.items():
        store.client.set_tag(session.job.parent_run_id, name, value)
    with pytest.raises(TrackingError, match="segment clean"):
        begin(store)


def test_a_failed_start_leaves_nothing_running(store, monkeypatch):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(SweepSession, "look", fail)
    with pytest.raises(OSError, match="disk full"):
        begin(store)
    (parent,) = store.client.search_runs([store.experiment_id])
    assert parent.info.status == "FAILED"


def test_what_a_job_reports_is_what_the_store_would_tell(store):
    """The process that waits ranks by reports; at the end the store is asked."""
    from segmentation.pipeline import segment
    from segmentation.tracking.runs import finished_runs

    result = segment(pd.DataFrame({"x": range(60), "y": [1, 5, 9] * 20}), k_max=4)
    with run_logger.tracked_run(store, "one", tags={"sweep_id": "s1"}) as run:
        logged = run_logger.write_result(store, run, result, config={"seed": 0})
    stored = finished_runs(store).iloc[0].to_dict()
    pd.testing.assert_series_equal(pd.Series(logged.row), pd.Series(stored))
    session = begin(store)
    session.rows.clear()
    session.note(logged.row)
    assert session.so_far() == (1, "one")
