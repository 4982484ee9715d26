"""What tracking knows of MLflow and SQLAlchemy beyond their documented interfaces.

Each entry says which public way is missing. `tests/tracking/test_tracking_compat.py` fails when a
version changes one of them.
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

#: Tables by which a database is known to be an MLflow store: MLflow itself would make its tables in
#: any database it is pointed at.
STORE_TABLES = frozenset({"experiments", "alembic_version"})
#: Tag by which the UI knows which artifacts are tables. `MlflowClient.log_table` sets it too, but
#: needs several calls a table, of a dozen tables a run.
TABLES_TAG = "mlflow.loggedArtifacts"

# MLflow's own use of SQLAlchemy; nothing a user could act on.
warnings.filterwarnings("ignore", category=SADeprecationWarning)

# MLflow offers no way to close the connections of its stores, which a fork would share.
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@event.listens_for(Engine, "engine_connect")
def _connected(connection: Connection) -> None:
    _engines.add(connection.engine)


def release_connections() -> None:
    """Close all connections to databases that are not in use; the next use opens new ones."""
    for engine in list(_engines):
        engine.dispose()


def quiet_migrations() -> None:
    """Keep MLflow's lines on how it makes and checks its tables off the terminal."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)


def place_artifacts(path: Path, uri: str) -> None:
    """Move the artifacts of all experiments of a new SQLite store.

    MLflow puts those of its Default experiment, to which `mlflow run` logs, into the current
    directory, and has no call that moves them.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (uri,))


def tables_tag(before: str | None, paths: Iterable[str]) -> str:
    """Value of `TABLES_TAG` with more tables than before."""
    tables = json.loads(before or "[]") + [{"path": path, "type": "table"} for path in paths]
    return json.dumps([*{table["path"]: table for table in tables}.values()])
