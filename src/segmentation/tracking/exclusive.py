"""A lock that processes on several machines share through any store."""

from __future__ import annotations

import contextlib
import json
import random
import time
import uuid
from collections.abc import Iterator

from mlflow.exceptions import MlflowException

from segmentation.tracking import process
from segmentation.tracking.store import Store

#: A claim is held for less than a second; one that is still there after this time was left by a
#: process that was killed where we cannot see it.
STALE_SECONDS = 20.0
POLL_SECONDS = 0.02


@contextlib.contextmanager
def exclusive(store: Store, name: str) -> Iterator[None]:
    """Hold a lock of this experiment; wait for it if another process or thread holds it.

    A store has no lock and no compare-and-set for tags, but its writes are seen in one order. Each
    claimant writes a tag of its own to the experiment and then reads all of them. It holds the lock
    once it sees no other claim. Of two that see each other, the one with the greater key withdraws
    and tries again. Two never hold it: the later of two claims was written before its owner read
    the tags, so it sees the earlier one until that is deleted.

    Parameters
    ----------
    store : Store
    name : str
        Name of the lock, of characters that MLflow allows in tags.
    """
    prefix = f"lock.{name}."
    owner = json.dumps(process.tags())
    first_seen: dict[str, float] = {}
    own = ""
    try:
        while True:
            if not own:
                own = f"{prefix}{uuid.uuid4().hex}"
                store.client.set_experiment_tag(store.experiment_id, own, owner)
            others = _claims(store, prefix, besides=own)
            now = time.monotonic()
            for key, claimant in [*others.items()]:
                first_seen.setdefault(key, now)
                is_stale = now - first_seen[key] > STALE_SECONDS
                if is_stale or process.is_gone(claimant):
                    _withdraw(store, key)
                    del others[key]
            if not others:
                break
            if own > min(others):
                _withdraw(store, own)
                own = ""
            time.sleep(POLL_SECONDS * random.uniform(0.5, 2))
        yield
    finally:
        if own:
            _withdraw(store, own)


def _claims(store: Store, prefix: str, *, besides: str) -> dict[str, dict[str, str]]:
    tags = store.client.get_experiment(store.experiment_id).tags
    return {
        key: json.loads(value)
        for key, value in tags.items()
        if key.startswith(prefix) and key != besides
    }


def _withdraw(store: Store, key: str) -> None:
    # Another process may have removed it as stale.
    with contextlib.suppress(MlflowException):
        store.client.delete_experiment_tag(store.experiment_id, key)
