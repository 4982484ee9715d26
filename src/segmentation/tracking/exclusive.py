"""A lock that processes on several machines share through any store."""

from __future__ import annotations

import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException

from segmentation.tracking import process
from segmentation.tracking.store import Store

#: A sweep's claim is held for less than a second; one that is still there after this time was left
#: by a process that was killed where we cannot see it.
STALE_SECONDS = 20.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Claims:
    """The tags of a record of the store, such as an experiment, by which processes claim a lock.

    Attributes
    ----------
    prefix : str
        Start of the names of these tags, of characters that MLflow allows.
    read : callable
        Returns all tags of the record.
    write : callable
        Sets a tag.
    remove : callable
        Deletes a tag.
    """

    prefix: str
    read: Callable[[], Mapping[str, str]]
    write: Callable[[str, str], object]
    remove: Callable[[str], object]

    def make(self) -> str:
        """Write a new claim of this process and return its name."""
        name = f"{self.prefix}{uuid.uuid4().hex}"
        self.write(name, json.dumps(process.tags()))
        return name

    def others(self, own: str) -> dict[str, str]:
        """Return the claims of others: their processes by name."""
        tags = self.read()
        return {k: v for k, v in tags.items() if k.startswith(self.prefix) and k != own}

    def withdraw(self, name: str) -> None:
        """Remove a claim; another process may have removed it as stale."""
        with contextlib.suppress(MlflowException):
            self.remove(name)


def exclusive(store: Store, name: str) -> contextlib.AbstractContextManager[Callable[[], bool]]:
    """Hold a lock of this experiment; wait for it if another process or thread holds it.

    Parameters
    ----------
    store : Store
    name : str
        Name of the lock, of characters that MLflow allows in tags.
    """
    client, experiment = store.client, store.experiment_id
    claims = Claims(
        f"lock.{name}.",
        lambda: client.get_experiment(experiment).tags,
        lambda key, value: client.set_experiment_tag(experiment, key, value),
        lambda key: client.delete_experiment_tag(experiment, key),
    )
    return held(claims, stale=STALE_SECONDS)


@contextlib.contextmanager
def held(
    claims: Claims, *, stale: float, wait: float | None = None
) -> Iterator[Callable[[], bool]]:
    """Hold the lock of these claims; wait for it if another process or thread holds it.

    A store has no lock and no compare-and-set for tags, but its writes are seen in one order. Each
    claimant writes a tag of its own and then reads all of them. It holds the lock once it sees no
    other claim. Of two that see each other, the one with the greater key withdraws and tries again.
    Two never hold it: the later of two claims was written before its owner read the tags, so it
    sees the earlier one until that is deleted.

    Parameters
    ----------
    claims : Claims
    stale : float
        Seconds after which a claim counts as left behind by a process that cannot be seen.
    wait : float, optional
        Seconds to wait at most.

    Yields
    ------
    callable
        Returns whether the lock is still held; it is lost if this process stood still until its
        claim was stale.

    Raises
    ------
    TimeoutError
        Another process held it for `wait` seconds.
    """
    first_seen: dict[str, float] = {}
    deadline = None if wait is None else time.monotonic() + wait
    own = ""
    try:
        while True:
            own = own or claims.make()
            others = claims.others(own)
            now = time.monotonic()
            for key, owner in [*others.items()]:
                is_stale = now - first_seen.setdefault(key, now) > stale
                if is_stale or process.is_gone(_parsed(owner)):
                    claims.withdraw(key)
                    del others[key]
            if not others:
                break
            if own > min(others):
                claims.withdraw(own)
                own = ""
            if deadline is not None and now > deadline:
                raise TimeoutError
            time.sleep(POLL_SECONDS * random.uniform(0.5, 2))
        yield lambda: own in claims.read()
    finally:
        if own:
            claims.withdraw(own)


def _parsed(owner: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(owner)
        if isinstance(found, dict):
            return found
    return {}
