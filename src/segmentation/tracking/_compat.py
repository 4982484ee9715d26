"""Uses of MLflow and SQLAlchemy beyond their documented interfaces.

Each comment says which public interface is missing. `tests/tracking/test_tracking_compat.py` fails
when a version changes one of them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import sqlite3
import warnings
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from mlflow.store.artifact.artifact_repository_registry import get_registered_artifact_repositories
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import SADeprecationWarning

#: Tables that identify a database as an MLflow store: MLflow itself would create its tables in any
#: database it is given.
STORE_TABLES = frozenset({"experiments", "alembic_version"})
#: Tag that tells the UI which artifacts are tables. `MlflowClient.log_table` sets it too, but needs
#: several calls per table, and a run has a dozen tables.
TABLES_TAG = "mlflow.loggedArtifacts"

# Caused by MLflow's own use of SQLAlchemy; users cannot fix it.
warnings.filterwarnings("ignore", category=SADeprecationWarning)

# MLflow has no call that closes the connections of its stores, which a fork would share.
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@event.listens_for(Engine, "engine_connect")
def _connected(connection: Connection) -> None:
    _engines.add(connection.engine)


def release_connections() -> None:
    """Close all idle database connections; the next use opens new ones."""
    for engine in list(_engines):
        engine.dispose()


def quiet_migrations() -> None:
    """Silence MLflow's messages about creating and checking its tables."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def place_artifacts(path: Path, uri: str) -> None:
    """Move the artifacts of all experiments of a new SQLite store.

    MLflow puts those of its Default experiment, which `mlflow run` logs to, in the current
    directory, and it has no call that moves them.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (uri,))


#: Where a SQLite store records the addresses of artifacts.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


def rewrite_addresses(path: Path, rewritten: Callable[[str], str | None]) -> int:
    """Rewrite the addresses of artifacts in one transaction; MLflow has no call that does.

    Parameters
    ----------
    path : Path
        A SQLite store.
    rewritten : callable
        Returns the new address of an old one, or None to keep it.

    Returns
    -------
    int
        Number of addresses that changed.
    """
    count = 0
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Closing without COMMIT undoes everything.
        connection.execute("BEGIN IMMEDIATE")
        for table, column in ADDRESSES:
            rows = connection.execute(
                f"SELECT rowid, {column} FROM {table} WHERE {column} IS NOT NULL"
            )
            for row, address in rows.fetchall():
                new = rewritten(address)
                if new is not None:
                    update = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                    connection.execute(update, (new, row))
                    count += 1
        connection.execute("COMMIT")
    return count


class Redirected(Protocol):
    """Returns the address to use instead of a recorded one, to read or to write."""

    def __call__(self, address: str, tracking_uri: str | None, *, write: bool) -> str: ...


@functools.cache
def redirect_artifacts(redirected: Redirected) -> None:
    """Have MLflow read and write local artifacts at another address, in this process.

    MLflow's artifact repositories can be replaced only for all of an installation, by an entry
    point.
    """
    repositories: dict[str, Any] = get_registered_artifact_repositories()
    for scheme in ("", "file"):
        repositories[scheme] = _redirecting(repositories[scheme], redirected)


def _redirecting(make: Any, redirected: Redirected) -> Any:
    def made(
        artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
    ) -> Any:
        def repository(*, write: bool) -> Any:
            address = redirected(artifact_uri, tracking_uri, write=write)
            return make(address, tracking_uri, registry_uri)

        def writing(method: str) -> Any:
            return lambda *given, **named: getattr(repository(write=True), method)(*given, **named)

        reader = repository(write=False)
        for method in ("log_artifact", "log_artifacts"):
            setattr(reader, method, writing(method))
        return reader

    return made


def tables_tag(before: str | None, paths: Iterable[str]) -> str:
    """Return the value of `TABLES_TAG` with more tables added."""
    tables = json.loads(before or "[]") + [{"path": path, "type": "table"} for path in paths]
    return json.dumps([*{table["path"]: table for table in tables}.values()])
