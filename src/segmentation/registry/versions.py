"""Look up runs that can be promoted and versions of the registered model."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run, RunStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from segmentation.errors import RegistryError

MODEL_NAME = "customer-segments"
CHAMPION = "champion"


def champion_version(client: MlflowClient, name: str = MODEL_NAME) -> ModelVersion | None:
    """Return the version that other programs load now; None if there is no champion yet.

    Raises
    ------
    RegistryError
        MLflow does not allow `name`.
    """
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise RegistryError(f"registered model '{name}': {error.message}") from error
    if CHAMPION not in model.aliases:
        return None
    return client.get_model_version(name, model.aliases[CHAMPION])


def next_segment_id(client: MlflowClient, name: str) -> int:
    """Return the smallest segment id that no version of the registered model has used."""
    return max((int(v.tags.get("next_segment_id", 0)) for v in versions(client, name)), default=0)


def earlier_ids(client: MlflowClient, name: str, run_id: str) -> dict[int, int]:
    """Return the segment id of each cluster index in the run's last version, if it has one."""
    mine = [v for v in versions(client, name) if v.run_id == run_id and "segment_ids" in v.tags]
    if not mine:
        return {}
    last = max(mine, key=lambda version: int(version.version))
    return dict(enumerate(json.loads(last.tags["segment_ids"])))


def same_version(
    client: MlflowClient, name: str, run_id: str, labels: Mapping[str, str]
) -> ModelVersion | None:
    """Return a version of the run with all these tags, left by an interrupted promotion."""
    for version in versions(client, name):
        if version.run_id == run_id and labels.items() <= version.tags.items():
            return version
    return None


def finished_run(client: MlflowClient, run_id: str) -> Run:
    """Return the run, if its model can be registered.

    Raises
    ------
    RegistryError
        The run is unknown, deleted or unfinished.
    """
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise RegistryError(
            f"run_id={run_id}: no such run in the store; `segment compare` lists the runs"
        ) from error
    if run.info.lifecycle_stage == "deleted":
        raise RegistryError(
            f"run_id={run_id}: the run was deleted; restore it with "
            f"`mlflow runs restore --run-id {run_id}` or choose another (`segment compare`)"
        )
    if run.info.status != RunStatus.to_string(RunStatus.FINISHED):
        raise RegistryError(
            f"run_id={run_id}: the run is {run.info.status}, only a FINISHED run can be promoted; "
            "fit it again or choose another (`segment compare`)"
        )
    return run


def model_of(client: MlflowClient, run: Run) -> str:
    """Return the id of the run's model; if there are several, of the last one.

    Raises
    ------
    RegistryError
        The run has no model.
    """
    outputs = [] if run.outputs is None else run.outputs.model_outputs
    ready = []
    for output in outputs:
        try:
            model = client.get_logged_model(output.model_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue  # the model was deleted, but the run still refers to it
        if model.status == LoggedModelStatus.READY:
            ready.append(model)
    if not ready:
        raise RegistryError(
            f"run_id={run.info.run_id}: the run has no logged model (the parent run of a sweep has "
            "none); choose one of the runs that `segment compare` lists"
        )
    return str(max(ready, key=lambda model: model.creation_timestamp).model_id)


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """Return all versions of a registered model; empty if it does not exist."""
    quoted = name.replace("'", "''")
    found: list[ModelVersion] = []
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name='{quoted}'", page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found
