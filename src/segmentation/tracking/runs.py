"""Read runs from a store to rank, compare or rerun them, and end runs."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from segmentation.errors import TrackingError
from segmentation.tracking import relocation
from segmentation.tracking.run_metrics import ORDER, RANK, SWEEP_RANK, columns
from segmentation.tracking.store import Store

#: Files of a run that others read.
CONFIG_FILE = "config.yaml"
CUSTOMERS_FILE = "customers.csv"
K_FILE = "tables/k.json"
SEGMENTS_FILE = "tables/segments.json"
REPORT_FILE = "report.html"

#: Tag of a run that did not finish: the reason.
ERROR = "error"

#: Columns of `finished_runs` with the places that a run's metrics hold, which may be out of date,
#: and the tag of those further down. They are for writing places, not for reading.
LOGGED_RANKS = {name: f"logged_{name}" for name in (RANK, ORDER, SWEEP_RANK)}
LOGGED_BELOW = "logged_below"

#: Conditions in MLflow's syntax: runs with a segmentation, and runs that have not ended.
FINISHED = "attributes.status = 'FINISHED' and metrics.k > 0"
RUNNING = "attributes.status = 'RUNNING'"

_SETTINGS = ("customers", "seed", "choice", "k_min", "k_max", "engine", "effort", "data")


def end(store: Store, run_id: str, status: str, reason: str) -> None:
    """End a run that did not finish, with the reason as a tag."""
    # The store itself may have failed; the first error is the one to report.
    with contextlib.suppress(Exception):
        store.client.set_tag(run_id, ERROR, reason[:5000])
        store.client.set_terminated(run_id, status)


def finish(store: Store, run_id: str) -> None:
    """Mark a run FINISHED, also if another process has taken it for dead and marked it KILLED."""
    store.client.set_terminated(run_id, "FINISHED")
    # Most runs have no such tag.
    with contextlib.suppress(MlflowException):
        store.client.delete_tag(run_id, ERROR)


def restoring(run_id: str) -> str:
    """Return the command that restores a deleted run."""
    return f"mlflow runs restore --run-id {run_id}"


def running_in_sweep(store: Store, sweep_id: str) -> bool:
    """Return whether a job of the sweep is still marked RUNNING; its parent run does not count."""
    running = search(store, f"{RUNNING} and tags.sweep_id = '{sweep_id}'")
    return any("mlflow.parentRunId" in run.data.tags for run in running)


def search(store: Store, where: str) -> list[Run]:
    """Return all matching active runs of the experiment, fetched page by page."""
    found: list[Run] = []
    token: str | None = None
    while True:
        page = store.client.search_runs([store.experiment_id], where, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


def local_path(store: Store, artifact_uri: str) -> Path | None:
    """Return the local folder of the artifacts, or None if they are on a server."""
    recorded = relocation.path_of(artifact_uri)
    if recorded is None or store.place is None:
        return recorded
    return store.place.find(recorded)


def artifact_file(store: Store, artifact_uri: str, name: str) -> str | None:
    """Return a ``file://`` link to a run's artifact, or None if it is on a server."""
    folder = local_path(store, artifact_uri)
    return None if folder is None else (folder / name).as_uri()


def find_run(store: Store, run_id: str) -> Run:
    """Return the run with this id.

    Raises
    ------
    TrackingError
        There is no such run.
    """
    try:
        return store.client.get_run(run_id)
    except MlflowException as error:
        raise TrackingError(
            f"there is no run {run_id} in {store.uri}. `segment compare` lists the run ids."
        ) from error


def stored_config(store: Store, run_id: str) -> dict[str, Any]:
    """Return the config a run was made from, as it is stored: nothing in it is resolved.

    To use it, pass it to `segmentation.experiments.stored_config.cleared`: it is an artifact, which
    others may be able to write.

    Raises
    ------
    TrackingError
        There is no such run, or it has no config because a notebook logged it.
    """
    run = find_run(store, run_id)
    try:
        with tempfile.TemporaryDirectory(prefix="segment-") as folder:
            path = store.client.download_artifacts(run.info.run_id, CONFIG_FILE, folder)
            loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"run {run_id} has no stored config ({CONFIG_FILE}): it was logged from a notebook "
            "or failed early. Specify the configuration itself instead of run_id."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError):
        loaded = None
    if not isinstance(loaded, dict):
        raise TrackingError(
            f"run {run_id}: its stored config ({CONFIG_FILE}) is damaged. Specify the "
            "configuration itself instead of run_id."
        )
    return loaded


def finished_runs(
    store: Store, *, sweep_id: str | None = None, where: str | None = None
) -> pd.DataFrame:
    """Return all finished runs of the experiment that fitted a configuration, one row per run.

    Parameters
    ----------
    store : Store
    sweep_id : str, optional
        Only the runs of this sweep.
    where : str, optional
        A filter in MLflow's syntax, such as ``metrics.k > 3``.

    Returns
    -------
    DataFrame
        ``run_id``, ``run``, ``start`` and the columns that `segmentation.experiments.ranking`
        ranks by and shows; newest first.

    Raises
    ------
    TrackingError
        The filter is not valid in MLflow.
    """
    conditions = [] if sweep_id is None else [f"tags.sweep_id = '{sweep_id}'"]
    if where:
        conditions.append(where)
    try:
        return pd.DataFrame(_finished(store, *conditions))
    except MlflowException as error:
        raise TrackingError(
            f"MLflow rejected filter={where!r}: {str(error).splitlines()[0]} "
            """Examples: 'filter="metrics.k > 3"' or """
            """'filter="tags.scaling = \'standard\'"'."""
        ) from error


def newly_finished(
    store: Store, sweep_id: str, *, ended_after: int | None, besides: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the rows of `finished_runs` for runs of a sweep that ended later, newest first.

    Parameters
    ----------
    store : Store
    sweep_id : str
    ended_after : int or None
        Milliseconds since the epoch; None for all runs.
    besides : sequence of str
        Ids of runs to leave out.
    """
    conditions = [f"tags.sweep_id = '{sweep_id}'"]
    if ended_after is not None:
        conditions.append(f"attributes.end_time > {ended_after}")
    if besides:
        conditions.append(f"attributes.run_id NOT IN ({', '.join(map(repr, besides))})")
    return _finished(store, *conditions)


def first_ranked(store: Store, most: int) -> list[dict[str, Any]]:
    """Return the rows of `finished_runs` for the first `most` runs by their logged order."""
    order = [f"metrics.{ORDER} ASC"]
    found = store.client.search_runs(
        [store.experiment_id], FINISHED, max_results=most, order_by=order
    )
    return [row_of(run) for run in found]


def _finished(store: Store, *conditions: str) -> list[dict[str, Any]]:
    return [row_of(run) for run in search(store, " and ".join([FINISHED, *conditions]))]


def customer_segments(store: Store, run_id: str, artifact_uri: str) -> pd.Series | None:
    """Return the segment of each customer by id, or None if the run did not log them."""
    with _artifact(store, run_id, artifact_uri, CUSTOMERS_FILE) as path:
        if path is None:
            return None
        if len(pd.read_csv(path, nrows=0).columns) < 4:
            # An id column called like one of ours was overwritten by it (until 0.1.0).
            return None
        # By position, since the id column may have any name. Ids are text: "007" and "NA" too.
        table = pd.read_csv(path, usecols=[0, 1], dtype={0: "str"}, keep_default_na=False)
    return table.set_index(table.columns[0]).iloc[:, 0]


def logged_table(store: Store, run_id: str, artifact_uri: str, name: str) -> pd.DataFrame | None:
    """Return a table of a run, `K_FILE` or `SEGMENTS_FILE`, or None if it cannot be read."""
    with _artifact(store, run_id, artifact_uri, name) as path:
        if path is None:
            return None
        return pd.DataFrame(**json.loads(path.read_text(encoding="utf-8")))


@contextlib.contextmanager
def _artifact(store: Store, run_id: str, artifact_uri: str, name: str) -> Iterator[Path | None]:
    """Yield the path of a run's file, in place or downloaded; None if there is none."""
    folder = local_path(store, artifact_uri)
    if folder is not None:
        yield folder / name if (folder / name).is_file() else None
        return
    with tempfile.TemporaryDirectory(prefix="segment-") as scratch:
        path = None
        with contextlib.suppress(MlflowException, OSError):
            path = Path(store.client.download_artifacts(run_id, name, scratch))
        yield path


def row_of(run: Run) -> dict[str, Any]:
    """Return the row of `finished_runs` for a run."""
    data = run.data
    return {
        "run": run.info.run_name,
        "features": data.tags.get("features"),
        "scaling": data.tags.get("scaling"),
        "k": int(data.metrics["k"]),
        "structure": data.tags.get("structure"),
        "confidence": data.tags.get("confidence"),
        **{column.name: data.metrics.get(column.logged, np.nan) for column in columns()},
        **{name: data.params.get(name) for name in _SETTINGS},
        "config_hash": data.tags.get("config_hash"),
        "code_version": data.tags.get("code_version"),
        "careful": data.tags.get("careful"),
        **{column: data.metrics.get(name, np.nan) for name, column in LOGGED_RANKS.items()},
        LOGGED_BELOW: data.tags.get(RANK),
        "evidence_version": data.tags.get("evidence_version"),
        "partition": data.tags.get("partition"),
        "sweep_id": data.tags.get("sweep_id"),
        "data_sha256": data.tags.get("data_sha256"),
        "start": pd.Timestamp(run.info.start_time, unit="ms"),
        "run_id": run.info.run_id,
        "artifact_uri": run.info.artifact_uri,
    }
