"""The MLflow store: where it is, that it is one, and that a new one is made whole or not at all."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sqlite3
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Read when mlflow is imported; a user who wants telemetry sets it to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from segmentation.errors import TrackingError
from segmentation.evaluation.metrics import OWN, REFERENCE, TABLE, VIEW
from segmentation.tracking import _compat
from segmentation.tracking.run_metrics import RUN_METRICS, columns

SQLITE = "sqlite:///"
DATABASES = ("postgresql", "mysql", "mssql")
SERVERS = ("http", "https")

#: A saved view of the runs table: at first visit MLflow shows no metric at all.
VIEW_KEY = "segments"

release_connections = _compat.release_connections


@dataclass(frozen=True)
class Store:
    """An open tracking store and one experiment in it.

    Attributes
    ----------
    uri : str
        Tracking URI; SQLite paths are absolute.
    client : MlflowClient
    experiment_id, experiment : str
        Id and name.
    """

    uri: str
    client: MlflowClient
    experiment_id: str
    experiment: str

    @property
    def is_local(self) -> bool:
        """Whether the store is a file of this machine's, not a server or database."""
        return self.uri.startswith(SQLITE)

    def link(self, run_id: str | None = None, *, base: str = "http://127.0.0.1:5000") -> str:
        """Address of the experiment, or of a run, in the UI's model-training mode.

        For a SQLite or other database store, `base` is where `segment ui` serves it.
        """
        root = self.uri.rstrip("/") if urlsplit(self.uri).scheme in SERVERS else base
        place = f"{root}/#/experiments/{self.experiment_id}/runs"
        mode = "workflowType=machine_learning"
        if run_id:
            return f"{place}/{run_id}?{mode}"
        return f"{place}?viewStateShareKey={VIEW_KEY}&{mode}"


def resolve_uri(uri: str | None, home: Path) -> str:
    """The tracking URI to use: `uri`, else MLFLOW_TRACKING_URI, else SQLite in `home`.

    Raises
    ------
    TrackingError
        The URI is of a kind MLflow cannot track to.
    """
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{home / 'mlflow.db'}"
    scheme = urlsplit(chosen).scheme.split("+")[0]
    if chosen.startswith(SQLITE):
        return f"{SQLITE}{Path(chosen.removeprefix(SQLITE)).absolute()}"
    if scheme in (*DATABASES, *SERVERS, "databricks"):
        return chosen
    raise TrackingError(
        f"tracking.uri={chosen} is not a store runs can be logged to. Allowed are "
        "sqlite:///path/to/mlflow.db, http://host:port, postgresql://…, mysql://… "
        "(MLflow no longer writes to a plain folder)."
    )


def open_store(uri: str, experiment: str) -> Store:
    """Open the store, make it if it is a SQLite file not yet there, and its experiment.

    Parameters
    ----------
    uri : str
        From `resolve_uri`.
    experiment : str
        Name of the experiment; made if it is not there.

    Raises
    ------
    TrackingError
        Unreachable, unreadable, not a store, or of another MLflow version.
    """
    artifacts: str | None = None
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        _check_or_create(path)
        artifacts = (path.parent / "artifacts").as_uri()
    elif urlsplit(uri).scheme in SERVERS:
        _check_server(uri)
    with store_errors(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return Store(uri, client, _experiment(client, experiment, artifacts), experiment)


def check_store(uri: str) -> None:
    """Say now what `open_store` would say after a long computation; writes nothing.

    Raises
    ------
    TrackingError
        Unreachable, unreadable, not a store, or in a folder that cannot be written.
    """
    if urlsplit(uri).scheme in SERVERS:
        _check_server(uri)
    if not uri.startswith(SQLITE):
        return
    path = Path(uri.removeprefix(SQLITE))
    if path.is_file() and path.stat().st_size > 0:
        _check_sqlite(path)
        return
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise TrackingError(_cannot_be_made(path, f"{folder} cannot be written"))


@contextlib.contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn the store's own exceptions into a `TrackingError` of one line."""
    _compat.quiet_migrations()
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        hint = ""
        if "401" in reason or "not authenticated" in reason.lower():
            hint = (
                " The server wants a password: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD."
            )
        if "out-of-date" in reason:
            hint = f" Back the store up, then run: mlflow db upgrade {without_password(uri)}"
        raise TrackingError(f"the store {without_password(uri)} failed: {reason}{hint}") from error


def without_password(uri: str) -> str:
    """The URI as it may be shown."""
    parts = urlsplit(uri)
    return uri.replace(f":{parts.password}@", ":***@") if parts.password else uri


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made = client.create_experiment(
                name, artifact_location=artifacts, tags=_experiment_tags()
            )
            return str(made)
        except MlflowException:
            # Another process made it in between; any other trouble shows on the next line.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"experiment {name!r} was deleted in this store. Restore it in the MLflow UI or with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or choose another name with "
            "tracking.experiment=NAME."
        )
    return str(found.experiment_id)


def _experiment_tags() -> dict[str, str]:
    state = base64.b64encode(zlib.compress(json.dumps(_view()).encode())).decode()
    now = int(time.time() * 1000)
    view = {
        "name": "Segments",
        "createdAt": now,
        "updatedAt": now,
        "state": f"deflate;{state}",
    }
    return {
        "mlflow.note.content": _note(),
        f"mlflow.sharedViewState.{VIEW_KEY}": json.dumps(view),
    }


def _note() -> str:
    own = [f"`{column.name}`" for column in columns(TABLE) if column.scope == OWN]
    return f"""\
Each run fits K-Means over a whole range of k for one configuration (feature set, scaling, k range).

- **k, structure, confidence, stability** are the run's answer; rank runs by these.
- `curve/…` metrics have **step = k**: their charts are the elbow and silhouette curves.
- {", ".join(own)} are measured in the run's own scaled space: compare
  them only between runs with the same features and scaling.
"""


def _view() -> dict[str, Any]:
    """The state of MLflow's runs table that shows the answers of the runs, the surest first."""
    shown = [column.logged for column in columns(VIEW) if column.scope != REFERENCE]
    return {
        "searchFilter": "metrics.k > 0",
        "orderByKey": "metrics.`stability`",
        "orderByAsc": RUN_METRICS["stability"].better == "lower",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"metrics.`{name}`" for name in ("k", *shown)),
            *(f"tags.`{name}`" for name in ("structure", "confidence")),
        ],
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
    }


def _check_server(uri: str) -> None:
    """Ask the server's health page: MLflow itself would retry an unreachable one for minutes."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):
            return
    except urllib.error.HTTPError:
        return  # It answers; whether it is an MLflow server shows with the first request.
    except (OSError, ValueError) as error:
        raise TrackingError(
            f"no MLflow server answers at {without_password(uri)} ({error}). Start it "
            "(mlflow server --host 127.0.0.1 --port 5000) or correct tracking.uri."
        ) from error


def _check_or_create(path: Path) -> None:
    if path.is_file() and path.stat().st_size > 0:
        _check_sqlite(path)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_sqlite(path)
    except OSError as error:
        raise TrackingError(_cannot_be_made(path, error.strerror or str(error))) from error


def _cannot_be_made(path: Path, reason: str) -> str:
    return (
        f"the store {path} cannot be made: {reason}. Choose a place you may write to with "
        "tracking.uri=sqlite:///path/to/mlflow.db."
    )


def _check_sqlite(path: Path) -> None:
    """Refuse a file that is no database, or somebody's other database, before MLflow touches it."""
    try:
        # Not mode=ro: what a killed process had begun is rolled back by the next that reads.
        connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)
        with contextlib.closing(connection):
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
    except sqlite3.Error as error:
        raise TrackingError(
            f"the store {path} cannot be read: {error}. Point tracking.uri at an MLflow SQLite "
            "file, or at a path where a new one may be made."
        ) from error
    if not tables >= _compat.STORE_TABLES:
        raise TrackingError(
            f"{path} is a database, but not an MLflow store; it was left untouched. Point "
            "tracking.uri at another file."
        )
    if not os.access(path, os.W_OK):
        raise TrackingError(
            f"the store {path} is read-only. Allow writing, or choose another tracking.uri."
        )


def _create_sqlite(path: Path) -> None:
    """Make the tables in a temporary file, then move it into place in one step.

    A process killed while MLflow makes its tables leaves a store that never opens again, and
    several processes making them at once lose runs.
    """
    with tempfile.TemporaryDirectory(prefix=".new-store-", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        with store_errors(f"{SQLITE}{fresh}"):
            MlflowClient(tracking_uri=f"{SQLITE}{fresh}").search_experiments(max_results=1)
        _compat.place_artifacts(fresh, (path.parent / "artifacts").as_uri())
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        # The first of several processes wins; the others use what it made.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
