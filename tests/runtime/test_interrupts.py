"""An interrupt ends the work, and never breaks into a transaction."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import matplotlib.path
import numpy as np
import pytest
import sqlalchemy
from numpy.typing import NDArray

from segmentation.cli.exit_codes import INTERRUPTED, guarded
from segmentation.runtime import interrupts
from segmentation.tracking.run_logger import tracked_run
from segmentation.tracking.store import check_store, open_store


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [signal.getsignal(each) for each in signals]
    yield
    for each, handler in zip(signals, before, strict=True):
        signal.signal(each, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_for_the_end_of_a_transaction(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as other:
        other.execute("create table runs (id)")
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")

    @sqlalchemy.event.listens_for(engine, "commit")
    def _(_: sqlalchemy.Connection) -> None:
        os.kill(os.getpid(), number)

    def work() -> None:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("insert into runs values (1)"))
        time.sleep(5)

    interrupts.listen()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert not engine.pool.checkedout()  # type: ignore[attr-defined]
    with sqlite3.connect(path, timeout=0) as other:
        assert other.execute("select count(*) from runs").fetchone() == (1,)
        other.execute("insert into runs values (2)")


def test_it_waits_until_a_pool_knows_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted_start(thread: threading.Thread) -> None:
        start(thread)
        os.kill(os.getpid(), signal.SIGTERM)

    pool = ThreadPoolExecutor(1)

    def work() -> None:
        monkeypatch.setattr(threading.Thread, "start", interrupted_start)
        pool.submit(int)
        time.sleep(5)

    interrupts.listen()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(pool._threads) == 1
    pool.shutdown()


@pytest.mark.parametrize("once", [True, False])
def test_the_second_does_not_break_into_the_cleaning_up(once: bool) -> None:
    interrupts.listen(once=once)
    cleaned = False
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except KeyboardInterrupt:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            cleaned = True
        except KeyboardInterrupt:
            pass
    assert cleaned == once


def test_held_back_it_comes_with_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with interrupts.held():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
            done.append("block")
        time.sleep(5)

    interrupts.listen()
    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["block"]


def test_nothing_holds_it_back_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "HELD_SECONDS", 0.1)
    interrupts.listen()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        Uneasy().__array__()
    assert time.monotonic() - started < 4


class Uneasy:
    """Interrupts whoever asks for its numbers."""

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.float64]:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return np.eye(2)


def test_what_compiled_code_makes_of_it_is_an_interrupt_again() -> None:
    interrupts.listen()
    line = matplotlib.path.Path([(0, 0), (1, 1)])
    with pytest.raises(ValueError, match="bounding box"):
        line.clip_to_bbox(Uneasy())
    with pytest.raises(KeyboardInterrupt), interrupts.kept():
        line.clip_to_bbox(Uneasy())


def test_a_command_broken_into_while_it_draws_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    interrupts.listen()
    line = matplotlib.path.Path([(0, 0), (1, 1)])
    assert guarded(lambda: line.clip_to_bbox(Uneasy())) == INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


def test_an_error_of_its_own_stays_what_it_is() -> None:
    interrupts.listen()
    with pytest.raises(ValueError, match="mine"), interrupts.kept():
        raise ValueError("mine")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("call", "status"), [("create_run", "KILLED"), ("set_terminated", "FINISHED")]
)
def test_no_moment_leaves_a_run_running(
    store_uri: str, call: str, status: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(store_uri, "interrupted")
    real = getattr(store.client, call)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        if when == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        answer = real(*arguments, **options)
        if when == "after":
            os.kill(os.getpid(), signal.SIGTERM)
        return answer

    def work() -> None:
        with tracked_run(store, "run"):
            time.sleep(5 if call == "create_run" else 0)
        time.sleep(5)

    interrupts.listen()
    monkeypatch.setattr(store.client, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        work()
    (run,) = store.client.search_runs([store.experiment_id])
    assert run.info.status == status


def test_a_store_whose_writer_was_killed_while_it_wrote_is_opened_again(store_uri: str) -> None:
    path = store_uri.removeprefix("sqlite:///")
    script = """if True:
        import os, signal, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], isolation_level=None)
        # So small a cache that half of the transaction lies in the file already.
        connection.execute("PRAGMA cache_size=2")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE half AS SELECT 1 AS x")
        for _ in range(500):
            connection.execute("INSERT INTO half VALUES (randomblob(2000))")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", script, path], check=False)
    assert Path(f"{path}-journal").stat().st_size > 0
    check_store(store_uri)
    open_store(store_uri, "after")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert ("half",) not in tables
