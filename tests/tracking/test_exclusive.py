"""One at a time holds the lock, and one that was left does not hold it for ever."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import pytest

from segmentation.tracking import exclusive, process
from segmentation.tracking.store import Store, open_store


@pytest.fixture
def store(store_uri: str) -> Store:
    return open_store(store_uri, "locked")


def claims(store: Store) -> list[str]:
    tags = store.client.get_experiment(store.experiment_id).tags
    return [name for name in tags if name.startswith("lock.")]


def test_one_at_a_time(store: Store) -> None:
    together, inside, entered = Barrier(6), Lock(), []

    def enter(number: int) -> None:
        together.wait()
        with exclusive.exclusive(store, "one"):
            assert inside.acquire(blocking=False)
            entered.append(number)
            time.sleep(0.01)
            inside.release()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(enter, range(6)))
    assert sorted(entered) == list(range(6))
    assert claims(store) == []


def test_it_is_left_when_an_error_is_raised(store: Store) -> None:
    with pytest.raises(ValueError, match="wrong"), exclusive.exclusive(store, "one"):
        raise ValueError("wrong")
    assert claims(store) == []


@pytest.mark.parametrize(
    "owner",
    [{process.TICKS: "1"}, {process.NAMESPACE: "pid:[1]"}],
    ids=["gone", "unseen"],
)
def test_a_claim_of_a_killed_process_does_not_hold_it(
    store: Store, owner: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exclusive, "STALE_SECONDS", 0.2)
    left = json.dumps({**process.tags(), **owner})
    store.client.set_experiment_tag(store.experiment_id, "lock.one.0", left)
    with exclusive.exclusive(store, "one"):
        pass
    assert claims(store) == []
