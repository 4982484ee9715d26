"""An interrupt ends the work, and never breaks into a transaction."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy

from segmentation import interrupts


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
