"""Look up runs that can be promoted and versions of the registered model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run, RunStatus
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from segmentation.errors import GateRefused, RegistryError
from segmentation.tracking import runs

MODEL_NAME = "customer-segments"
CHAMPION = "champion"
#: Tag of a version, and of a run, that says how its promotion ended; a version is `UNFINISHED`
#: until its segment ids are known to be its own.
PROMOTION = "promotion"
PASSED, REFUSED, OVERRIDDEN, UNCHECKED = "passed", "refused", "overridden", "unchecked"
UNFINISHED = "unfinished"
#: Tag of a version: the newest version when the promotion was assessed.
KNOWN = "newest_known_version"
#: Tag of versions and of the registered model: ids below this one may have been given.
NEXT_ID = "next_segment_id"


class Overtaken(GateRefused):
    """The registered model has changed in the meantime; whatever was decided must be decided again.

    Attributes
    ----------
    reason : str
        What has changed, without advice.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}. Run the command again.")
        self.reason = reason


@dataclass(frozen=True)
class Standing:
    """A registered model at one moment.

    Attributes
    ----------
    name : str
    champion : ModelVersion or None
    all : tuple of ModelVersion
        Its versions, without deleted ones.
    next_segment_id : int
        The smallest segment id that was never given to a segment.
    """

    name: str
    champion: ModelVersion | None
    all: tuple[ModelVersion, ...]
    next_segment_id: int

    @property
    def newest(self) -> int:
        """The highest version number; 0 if there is none."""
        return max((int(one.version) for one in self.all), default=0)

    def earlier_ids(self, run_id: str) -> dict[int, int]:
        """Return the id of each cluster index in the run's last version, where it is its own.

        The run's model has not changed, so neither have its segments. Two kinds of ids are left
        out: of a promotion that was cut off and may have chosen the same ids as another, and those
        that a version before the evidence was recorded took over from another model.
        """
        mine = [v for v in self.all if v.run_id == run_id and "segment_ids" in v.tags]
        mine = [v for v in mine if not is_doubtful(v, self.all)]
        if not mine:
            return {}
        last = max(mine, key=lambda version: int(version.version))
        ids = dict(enumerate(json.loads(last.tags["segment_ids"])))
        if PROMOTION in last.tags:
            return ids
        fates = json.loads(last.tags.get("lineage", "[]"))
        taken = {fate["segment"] for fate in fates if fate["segment"] in fate["was"]}
        return {index: segment for index, segment in ids.items() if segment not in taken}

    def same_version(self, run_id: str, labels: Mapping[str, str]) -> ModelVersion | None:
        """Return a version of the run with all these tags, left by an earlier promotion."""
        mine = (v for v in self.all if v.run_id == run_id and labels.items() <= v.tags.items())
        return next((v for v in mine if not is_doubtful(v, self.all)), None)


def standing(client: MlflowClient, name: str) -> Standing:
    """Read a registered model: its champion, its versions and the ids they use.

    Raises
    ------
    RegistryError
        MLflow does not allow `name`.
    """
    model = _registered_model(client, name)
    all_ = tuple(versions(client, name))
    used = [int(version.tags.get(NEXT_ID, 0)) for version in all_]
    # Versions that were deleted are not found, but their ids may still be in use elsewhere.
    used.append(int((model.tags if model else {}).get(NEXT_ID, 0)))
    return Standing(name, _champion(client, model), all_, max(used))


def is_overtaken(version: ModelVersion, all_: Sequence[ModelVersion]) -> bool:
    """Return whether another version was made between its assessment and the version itself.

    The store gives each version number once, and a version has its tags from the start. So of two
    promotions that were assessed at the same time, the one with the higher number always finds the
    other, whatever the machine, and may have chosen the same new ids.
    """
    if KNOWN not in version.tags:
        return False
    known, number = int(version.tags[KNOWN]), int(version.version)
    return any(known < int(other.version) < number for other in all_)


def is_doubtful(version: ModelVersion, all_: Sequence[ModelVersion]) -> bool:
    """Return whether its promotion was cut off before its ids were known to be its own."""
    return version.tags.get(PROMOTION) == UNFINISHED and is_overtaken(version, all_)


def champion_version(client: MlflowClient, name: str = MODEL_NAME) -> ModelVersion | None:
    """Return the version that other programs load now; None if there is no champion yet.

    Raises
    ------
    RegistryError
        MLflow does not allow `name`.
    """
    return _champion(client, _registered_model(client, name))


def _registered_model(client: MlflowClient, name: str) -> RegisteredModel | None:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise RegistryError(f"registered model '{name}': {error.message}") from error


def _champion(client: MlflowClient, model: RegisteredModel | None) -> ModelVersion | None:
    if model is None or CHAMPION not in model.aliases:
        return None
    return client.get_model_version(model.name, model.aliases[CHAMPION])


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
            f"`{runs.restoring(run_id)}` or choose another (`segment compare`)"
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
