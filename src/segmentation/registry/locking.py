"""Let only one process at a time register versions of a model and move its aliases.

MLflow has no operation that moves an alias only if it still points to a given version. Programs of
this project therefore take turns:

- On an SQLite store they lock the folder of the database. The system releases the lock when its
  process ends, however that happens, and no file is left behind.
- On a server or another database, and where a folder cannot be locked, they claim the registered
  model by a tag (`segmentation.tracking.exclusive`).

Programs that do not take part (the MLflow UI, an earlier version of this project, a process that
opens an SQLite file while another uses it through a server) are found by the checks in `aliases`
and `versions`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlflow import MlflowClient

from segmentation.errors import RegistryError
from segmentation.registry.versions import Overtaken
from segmentation.tracking.exclusive import Claims, held
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
    with contextlib.ExitStack() as stack:
        if folder is not None and (opened := _lock(folder, name)) is not None:
            stack.callback(os.close, opened)
            yield lambda: None
        else:
            yield stack.enter_context(_claimed(client, name))


def _lock(folder: Path, name: str) -> int | None:
    """Lock a folder and return its descriptor; None if the file system has no such locks."""
    try:
        import fcntl  # not on Windows

        opened = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
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
    claims = Claims(
        CLAIM,
        lambda: client.get_registered_model(name).tags,
        lambda key, value: client.set_registered_model_tag(name, key, value),
        lambda key: client.delete_registered_model_tag(name, key),
    )
    with contextlib.ExitStack() as stack:
        try:
            is_held = stack.enter_context(held(claims, stale=LEASE, wait=WAIT))
        except TimeoutError:
            raise _busy(name) from None

        def check() -> None:
            if not is_held():
                raise Overtaken(
                    f"'{name}' was given to another process, because this one stood still for more "
                    f"than {LEASE:g} seconds"
                )

        yield check


def _busy(name: str) -> RegistryError:
    return RegistryError(
        f"another process has been changing registered model '{name}' for {WAIT:g} seconds; run "
        "the command again when it has ended"
    )
