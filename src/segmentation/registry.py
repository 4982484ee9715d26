"""The registered model: which run's model other programs load as ``@champion``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run, RunStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from segmentation.errors import GateRefused, RegistryError

MODEL_NAME = "customer-segments"
CHAMPION, PREVIOUS = "champion", "previous"
# What the registry page shows of a version's run, so that nobody must open the run.
COPIED_TAGS = ("features", "scaling", "structure", "confidence", "data_sha256")
DESCRIPTION = (
    "Customer segments by K-Means. `champion` is the version to use, `previous` the one before it. "
    "Load it with `mlflow.pyfunc.load_model('models:/{name}@champion')`."
)


@dataclass(frozen=True)
class Promotion:
    """What a promotion did.

    Attributes
    ----------
    name : str
        Registered model.
    version : int
        The version that is champion now.
    run_id, model_id : str
        Where it comes from.
    previous : int or None
        The version that was champion until now.
    """

    name: str
    version: int
    run_id: str
    model_id: str
    previous: int | None

    @property
    def uri(self) -> str:
        """What other programs load; it follows the champion."""
        return f"models:/{self.name}@{CHAMPION}"


def promote(run_id: str, *, tracking_uri: str, name: str = MODEL_NAME) -> Promotion:
    """Make the model of a run the champion of the registry.

    The alias ``champion`` moves last, so that a crash at any point leaves the old champion in
    place. A run that already has a version keeps it: a promotion that was cut off can be repeated.

    Parameters
    ----------
    run_id : str
        A finished run with a logged model.
    tracking_uri : str
        The MLflow store of runs and registered models; it becomes the process's.
    name : str
        Registered model; made when it does not exist.

    Returns
    -------
    Promotion

    Raises
    ------
    RegistryError
        The run is unknown, deleted, unfinished or has no model, or `name` cannot be used.
    GateRefused
        The run found no structure, or its model is the champion already.
    """
    # MLflow looks up a ``models:/m-…`` source in the process's store, whatever the client's.
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    run = _finished_run(client, run_id)
    model_id = _model_of(client, run)
    champion = champion_version(client, name)
    _check_gates(run, champion, name)
    version = _version_of(client, run, model_id, name)
    if champion is not None:
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return Promotion(
        name=name,
        version=int(version.version),
        run_id=run_id,
        model_id=model_id,
        previous=None if champion is None else int(champion.version),
    )


def champion_version(client: MlflowClient, name: str = MODEL_NAME) -> ModelVersion | None:
    """The version that other programs load now; None when there is no champion yet.

    Raises
    ------
    RegistryError
        `name` is no name MLflow allows.
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


def _finished_run(client: MlflowClient, run_id: str) -> Run:
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
            f"run_id={run_id}: the run was deleted; bring it back with "
            f"`mlflow runs restore --run-id {run_id}` or choose another (`segment compare`)"
        )
    if run.info.status != RunStatus.to_string(RunStatus.FINISHED):
        raise RegistryError(
            f"run_id={run_id}: the run is {run.info.status}, only a FINISHED run can be promoted; "
            "fit it again or choose another (`segment compare`)"
        )
    return run


def _model_of(client: MlflowClient, run: Run) -> str:
    """Id of the run's model; of several the one logged last."""
    outputs = [] if run.outputs is None else run.outputs.model_outputs
    ready = []
    for output in outputs:
        try:
            model = client.get_logged_model(output.model_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            continue  # the model was deleted, the run still names it
        if model.status == LoggedModelStatus.READY:
            ready.append(model)
    if not ready:
        raise RegistryError(
            f"run_id={run.info.run_id}: the run has no logged model (the parent run of a sweep has "
            "none); choose one of the runs that `segment compare` lists"
        )
    return str(max(ready, key=lambda model: model.creation_timestamp).model_id)


def _check_gates(run: Run, champion: ModelVersion | None, name: str) -> None:
    run_id = run.info.run_id
    if run.data.tags.get("structure") == "no":
        raise GateRefused(
            f"run_id={run_id}: no cluster structure was found in its data, its segments would be "
            "arbitrary; try other features or scalings and promote a run with structure=yes"
        )
    if champion is not None and champion.run_id == run_id:
        raise GateRefused(
            f"run_id={run_id}: its model is the champion of '{name}' already "
            f"(version {champion.version}); there is nothing to promote"
        )


def _version_of(client: MlflowClient, run: Run, model_id: str, name: str) -> ModelVersion:
    """The run's version of the registered model, made if there is none."""
    run_id, source = run.info.run_id, f"models:/{model_id}"
    try:
        client.create_registered_model(name, description=DESCRIPTION.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise RegistryError(f"registered model '{name}': {error.message}") from error
    for version in client.search_model_versions(f"run_id='{run_id}'"):
        if version.name == name and version.source == source:
            return version
    tags = {key: run.data.tags[key] for key in COPIED_TAGS if key in run.data.tags}
    if "k" in run.data.metrics:
        tags["k"] = f"{run.data.metrics['k']:.0f}"
    return client.create_model_version(
        name,
        source,
        run_id=run_id,
        model_id=model_id,
        tags={**tags, "run_id": run_id},
        description=_describe(run, tags),
    )


def _describe(run: Run, tags: dict[str, str]) -> str:
    """Markdown for somebody who was not there: what was clustered, how, how well, when."""
    metrics = run.data.metrics
    fitted = datetime.fromtimestamp(run.info.start_time / 1000, tz=UTC)
    lines = [
        f"**{tags.get('k', '?')} customer segments** on `{tags.get('features', '?')}`, "
        f"scaling `{tags.get('scaling', '?')}`.",
        f"- Structure: {tags.get('structure', 'untested')}"
        + (f", choice of k {tags['confidence']}" if "confidence" in tags else ""),
        *(
            f"- {label}: {metrics[key]:.3g}"
            for key, label in (
                ("silhouette", "Silhouette"),
                ("stability", "Stability"),
                ("smallest_share", "Share of the smallest segment"),
            )
            if key in metrics
        ),
        f"- Run `{run.info.run_name}` ({run.info.run_id}), fitted {fitted:%Y-%m-%d %H:%M} UTC",
    ]
    return "\n".join(lines)
