"""Let only one process at a time register versions of a model and move its aliases.

MLflow has no operation that moves an alias only if it still points to a given version. Programs of
this project therefore take turns:

- On an SQLite store they lock the folder of the database. The system releases the lock when its
  process ends, however that happens, and no file is left behind.
- On a server or another database, and where a folder cannot be locked, each sets a tag of its own
  on the registered model, reads all tags, and goes on only if there is no other such tag. Of two
  that do so at once at least one sees the other. A tag left behind by a process that was killed is
  removed when it has been there for `LEASE` seconds.

Programs that do not take part (the MLflow UI, an earlier version of this project, a process that
opens an SQLite file while another uses it through a server) are found by the checks in `aliases`
and `versions`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from segmentation.errors import RegistryError
from segmentation.registry.versions import Overtaken
from segmentation.tracking import process
from segmentation.tracking.store import SQLITE

#: Start of the name of a tag that claims a registered model.
CLAIM = "promoting."
#: Seconds after which a claim is taken to be left behind; by far more than a promotion needs.
LEASE = 120.0
#: Seconds to wait for another process.
WAIT = 2 * LEASE
PAUSE = 0.05

Check = Callable[[], None]


@contextlib.contextmanager
def exclusive(client: MlflowClient, uri: str, name: str) -> Iterator[Check]:
    """Hold a registered model while its versions and aliases change.

    Parameters
    ----------
    client : MlflowClient
    uri : str
        The store's.
    name : str
        An existing registered model.

    Yields
    ------
    callable
        Raises `Overtaken` if the hold was lost, because this process was stopped for too long. To
        be called before each step that matters.

    Raises
    ------
    RegistryError
        Another process has held it for minutes.
    """
    folder = Path(uri.removeprefix(SQLITE)).resolve().parent if uri.startswith(SQLITE) else None
    with contextlib.ExitStack() as held:
        if folder is not None and (opened := _lock(folder, name)) is not None:
            held.callback(os.close, opened)
            yield lambda: None
        else:
            yield held.enter_context(_claimed(client, name))


def _lock(folder: Path, name: str) -> int | None:
    """Lock a folder and return its descriptor; None if the file system has no such locks."""
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    deadline = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return opened
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(opened)
                raise _busy(name) from None
            time.sleep(PAUSE)
        except OSError:  # some network file systems
            os.close(opened)
            return None
        except BaseException:
            os.close(opened)
            raise


@contextlib.contextmanager
def _claimed(client: MlflowClient, name: str) -> Iterator[Check]:
    seen: dict[str, float] = {}
    deadline = time.monotonic() + WAIT
    while True:
        # A new name for each attempt: a claim that stays is one left behind.
        mine = f"{CLAIM}{uuid.uuid4().hex}"
        try:
            client.set_registered_model_tag(name, mine, process.user())
            others = _claims(client, name) - {mine}
        except BaseException:
            _release(client, name, mine)
            raise
        if not others:
            break
        _release(client, name, mine)
        now = time.monotonic()
        for other in others:
            if now - seen.setdefault(other, now) > LEASE:
                _release(client, name, other)
        if now > deadline:
            raise _busy(name)
        time.sleep(PAUSE * (1 + 9 * random.random()))

    def check() -> None:
        if mine not in _claims(client, name):
            raise Overtaken(
                f"'{name}' was given to another process, because this one stood still for more "
                f"than {LEASE:g} seconds"
            )

    try:
        yield check
    finally:
        _release(client, name, mine)


def _claims(client: MlflowClient, name: str) -> set[str]:
    tags = client.get_registered_model(name).tags
    return {key for key in tags if key.startswith(CLAIM)}


def _release(client: MlflowClient, name: str, claim: str) -> None:
    with contextlib.suppress(MlflowException):
        client.delete_registered_model_tag(name, claim)


def _busy(name: str) -> RegistryError:
    return RegistryError(
        f"another process has been changing registered model '{name}' for {WAIT:g} seconds; run "
        "the command again when it has ended"
    )
