"""Uses of MLflow and SQLAlchemy beyond their documented interfaces.

Each comment says which public interface is missing. `tests/tracking/test_tracking_compat.py` fails
when a version changes one of them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import warnings
import weakref
from collections.abc import Iterable
from pathlib import Path

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


def tables_tag(before: str | None, paths: Iterable[str]) -> str:
    """Return the value of `TABLES_TAG` with more tables added."""
    tables = json.loads(before or "[]") + [{"path": path, "type": "table"} for path in paths]
    return json.dumps([*{table["path"]: table for table in tables}.values()])
