"""Locate, check and open the MLflow store, and create a new one atomically."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

# Takes effect when mlflow is imported; users who want telemetry set it to false.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from segmentation.errors import TrackingError
from segmentation.tracking import _compat, relocation, view
from segmentation.tracking.relocation import Place

SQLITE = "sqlite:///"
DATABASES = ("postgresql", "mysql", "mssql")
SERVERS = ("http", "https")

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
    place : Place or None
        Where the artifacts of a SQLite store are.
    """

    uri: str
    client: MlflowClient
    experiment_id: str
    experiment: str
    place: Place | None = None

    @property
    def is_local(self) -> bool:
        """Whether the store is a file on this machine, not a server or database."""
        return self.uri.startswith(SQLITE)

    def link(self, run_id: str | None = None, *, base: str = "http://127.0.0.1:5000") -> str:
        """Return the address of the experiment or a run in the UI's model-training mode.

        For SQLite and other databases, `base` is the address where `segment ui` serves the store.
        """
        root = self.uri.rstrip("/") if urlsplit(self.uri).scheme in SERVERS else base
        place = f"{root}/#/experiments/{self.experiment_id}/runs"
        mode = "workflowType=machine_learning"
        if run_id:
            return f"{place}/{run_id}?{mode}"
        return f"{place}?viewStateShareKey={view.VIEW_KEY}&{mode}"


def resolve_uri(uri: str | None, home: Path) -> str:
    """Return the tracking URI: `uri`, else MLFLOW_TRACKING_URI, else SQLite in `home`.

    Raises
    ------
    TrackingError
        MLflow cannot log runs to this kind of URI.
    """
    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{home / 'mlflow.db'}"
    scheme = urlsplit(chosen).scheme.split("+")[0]
    if chosen.startswith(SQLITE):
        return f"{SQLITE}{_sqlite_path(chosen)}"
    if scheme in (*DATABASES, *SERVERS, "databricks"):
        return chosen
    raise TrackingError(
        f"tracking.uri={chosen}: runs cannot be logged to this kind of store. Allowed are "
        "sqlite:///path/to/mlflow.db, http://host:port, postgresql://…, mysql://… "
        "(MLflow no longer writes to a plain folder)."
    )


def _sqlite_path(uri: str) -> Path:
    """Return the absolute path of a SQLite file; a slash too many changes nothing."""
    name, question, _ = uri.removeprefix(SQLITE).partition("?")
    if question or name in ("", ":memory:"):
        raise TrackingError(
            f"tracking.uri={uri}: give the path of a file, without options after a '?', such as "
            "sqlite:///path/to/mlflow.db."
        )
    # To SQLite //folder is /folder, to a file:// address it is the host `folder`.
    return Path(f"/{name.lstrip('/')}" if name.startswith("/") else name).absolute()


def open_store(uri: str, experiment: str, *, reading: bool = False) -> Store:
    """Open the store and its experiment; create a missing SQLite file or experiment.

    Parameters
    ----------
    uri : str
        From `resolve_uri`.
    experiment : str
        Name of the experiment; created if it does not exist.
    reading : bool
        Accept a SQLite file that cannot be written.

    Raises
    ------
    TrackingError
        The store is unreachable, unreadable, not a store or of another MLflow version.
    """
    artifacts: str | None = None
    place: Place | None = None
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
        place = relocation.place_of(path, _check_or_create(path, reading=reading))
        relocation.remember(uri, place)
        artifacts = place.here.as_uri()
    elif urlsplit(uri).scheme in SERVERS:
        _check_server(uri)
    with store_errors(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return Store(uri, client, _experiment(client, experiment, artifacts), experiment, place)


def check_store(uri: str) -> None:
    """Raise errors of `open_store` before a long computation; writes nothing.

    Raises
    ------
    TrackingError
        The store is unreachable, unreadable, not a store or in a folder that is not writable.
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
    """Turn the store's exceptions into a `TrackingError` with one line."""
    _compat.quiet_migrations()
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        hint = ""
        if "401" in reason or "not authenticated" in reason.lower():
            hint = (
                " The server requires a password: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD."
            )
        if "out-of-date" in reason:
            hint = f" Back the store up, then run: mlflow db upgrade {without_password(uri)}"
        raise TrackingError(f"the store {without_password(uri)} failed: {reason}{hint}") from error


def without_password(uri: str) -> str:
    """Return the URI without its password, for display."""
    parts = urlsplit(uri)
    return uri.replace(f":{parts.password}@", ":***@") if parts.password else uri


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made = client.create_experiment(
                name, artifact_location=artifacts, tags=view.experiment_tags()
            )
            return str(made)
        except MlflowException:
            # Another process created it in the meantime; any other error is raised below.
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


def _check_server(uri: str) -> None:
    """Query the server's health page: MLflow itself would retry for minutes."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):
            return
    except urllib.error.HTTPError:
        return  # It answers; the first request shows whether it is an MLflow server.
    except (OSError, ValueError) as error:
        raise TrackingError(
            f"no MLflow server answers at {without_password(uri)} ({error}). Start it "
            "(mlflow server --host 127.0.0.1 --port 5000) or correct tracking.uri."
        ) from error


def _check_or_create(path: Path, *, reading: bool) -> list[str]:
    """Return where the experiments of the store record their artifacts."""
    if path.is_file() and path.stat().st_size > 0:
        return _check_sqlite(path, reading=reading)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _create_sqlite(path)
        return []
    except OSError as error:
        raise TrackingError(_cannot_be_made(path, error.strerror or str(error))) from error


def _cannot_be_made(path: Path, reason: str) -> str:
    return (
        f"the store {path} cannot be created: {reason}. Choose a writable path with "
        "tracking.uri=sqlite:///path/to/mlflow.db."
    )


def _check_sqlite(path: Path, *, reading: bool = False) -> list[str]:
    """Reject a file that is not a database, or not an MLflow store, before MLflow touches it.

    Returns
    -------
    list of str
        Where its experiments record their artifacts.
    """
    locations: list[str] = []
    try:
        # Not mode=ro: the next reader must roll back what a killed process had started.
        connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)
        with contextlib.closing(connection):
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in rows}
            if tables >= _compat.STORE_TABLES:
                found = connection.execute("SELECT DISTINCT artifact_location FROM experiments")
                locations = [location for (location,) in found if location]
    except sqlite3.Error as error:
        raise TrackingError(
            f"the store {path} cannot be read: {error}. Point tracking.uri at an MLflow SQLite "
            "file, or at a path where a new one can be created."
        ) from error
    if not tables >= _compat.STORE_TABLES:
        raise TrackingError(
            f"{path} is a database, but not an MLflow store; it was left untouched. Point "
            "tracking.uri at another file."
        )
    if not reading and not os.access(path, os.W_OK):
        raise TrackingError(
            f"the store {path} is read-only. Make it writable, or choose another tracking.uri."
        )
    return locations


def _create_sqlite(path: Path) -> None:
    """Create the tables in a temporary file, then move it into place in one step.

    A process killed while MLflow creates its tables leaves a store that never opens again, and
    several processes that create them at once lose runs.
    """
    with tempfile.TemporaryDirectory(prefix=".new-store-", dir=path.parent) as folder:
        fresh = Path(folder) / path.name
        with store_errors(f"{SQLITE}{fresh}"):
            MlflowClient(tracking_uri=f"{SQLITE}{fresh}").search_experiments(max_results=1)
        _compat.place_artifacts(fresh, (path.parent / relocation.ARTIFACTS).as_uri())
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        # The first of several processes wins; the others use its store.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
