"""The registered model: its versions and the aliases by which other programs load it.

`champion` is the version to use, `previous` the one before it, `challenger` one that is about to
become the champion. An alias moves in one step, and `champion` moves last, so that a crash at any
point leaves a champion that loads.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from segmentation.errors import RegistryError
from segmentation.registry.versions import (
    CHAMPION,
    MODEL_NAME,
    champion_version,
    finished_run,
    model_of,
    versions,
)
from segmentation.tracking import process

CHALLENGER, PREVIOUS = "challenger", "previous"
#: Tags of a version that was rolled back: when and by whom, and why.
ROLLED_BACK = ("rolled_back", "rolled_back_reason")
# Tags of the run that the registry page shows, so that nobody has to open the run.
COPIED_TAGS = ("features", "scaling", "structure", "confidence", "data_sha256")
#: Maximum length of a version's description.
LONGEST = 5000
DESCRIPTION = (
    "Customer segments by K-Means. `champion` is the version to use, `previous` the one before it "
    "(`segment rollback` brings it back). A segment id means the same segment in every version. "
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
    run_id : str
        Run of the version.
    previous : int or None
        The champion before this promotion.
    """

    name: str
    version: int
    run_id: str
    previous: int | None

    @property
    def uri(self) -> str:
        """URI that other programs load; it always refers to the champion."""
        return f"models:/{self.name}@{CHAMPION}"


def promote(
    run_id: str,
    *,
    tracking_uri: str,
    name: str = MODEL_NAME,
    source: str | None = None,
    tags: Mapping[str, str] | None = None,
    description: str | None = None,
) -> Promotion:
    """Make a model of a run the champion, without checking any gates.

    A model that already has a version keeps it, so that an interrupted promotion can be repeated.

    Parameters
    ----------
    run_id : str
        A finished run with a logged model.
    tracking_uri : str
        The MLflow store of runs and registered models, set for the whole process.
    name : str
        Registered model; created if it does not exist.
    source : str, optional
        The logged model to register, ``models:/m-…``; the run's own by default.
    tags : mapping, optional
        Tags of the version, in addition to the run's id and the tags copied from the run.
    description : str, optional
        Markdown shown below the description of the run.

    Raises
    ------
    RegistryError
        The run is unknown, deleted, unfinished or has no model, or `name` cannot be used.
    """
    # MLflow looks up a ``models:/m-…`` source in the process's store, not in the client's.
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    run = finished_run(client, run_id)
    source = source or f"models:/{model_of(client, run)}"
    champion = champion_version(client, name)
    version = _version_of(client, run, source, name, dict(tags or {}), description)
    make_champion(client, name, version.version, champion)
    return Promotion(
        name=name,
        version=int(version.version),
        run_id=run_id,
        previous=None if champion is None else int(champion.version),
    )


def make_champion(
    client: MlflowClient, name: str, version: str, champion: ModelVersion | None
) -> None:
    """Move the aliases to `version`, with `champion` after `previous`."""
    client.set_registered_model_alias(name, CHALLENGER, version)
    if champion is not None and champion.version != version:
        # Stored as a tag too: a crash after the next line would leave `previous` on the champion.
        client.set_model_version_tag(name, version, "replaces", str(champion.version))
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
    _clear_rollback(client, name, version)
    client.set_registered_model_alias(name, CHAMPION, version)
    client.delete_registered_model_alias(name, CHALLENGER)


def _clear_rollback(client: MlflowClient, name: str, version: str) -> None:
    """Remove the rollback tags of a version that becomes the champion again."""
    tags = client.get_model_version(name, version).tags
    for key in ROLLED_BACK:
        if key in tags:
            client.delete_model_version_tag(name, version, key)


def rollback(*, tracking_uri: str, name: str = MODEL_NAME, reason: str | None = None) -> Promotion:
    """Make the previous champion the champion again; a second call undoes this.

    Parameters
    ----------
    tracking_uri : str
    name : str
        Registered model.
    reason : str, optional
        Stored as a tag of the version that is rolled back.

    Raises
    ------
    RegistryError
        There is no champion or no previous champion.
    """
    client = MlflowClient(tracking_uri)
    champion = champion_version(client, name)
    if champion is None:
        raise RegistryError(
            f"registered model '{name}' has no champion to roll back; make one with "
            "`segment promote`, or name another registered model with model=NAME"
        )
    previous = _previous_of(client, champion, name)
    taken = (f"{now()} by {process.user()}", reason or "not given")
    for key, value in zip(ROLLED_BACK, taken, strict=True):
        client.set_model_version_tag(name, champion.version, key, value)
    client.set_registered_model_alias(name, PREVIOUS, champion.version)
    _clear_rollback(client, name, str(previous.version))
    client.set_registered_model_alias(name, CHAMPION, previous.version)
    return Promotion(
        name=name,
        version=int(previous.version),
        run_id=str(previous.run_id),
        previous=int(champion.version),
    )


def check_copy(client: MlflowClient, name: str, copy_to: str) -> ModelVersion | None:
    """Return the champion that a copy would replace, if there is one.

    Raises
    ------
    RegistryError
        `copy_to` cannot be used.
    """
    if copy_to == name:
        raise RegistryError(
            f"copy_to={copy_to} is the model itself: name another registered model, such as "
            f"copy_to=prod.{name}"
        )
    return champion_version(client, copy_to)


def _previous_of(client: MlflowClient, champion: ModelVersion, name: str) -> ModelVersion:
    aliases = client.get_registered_model(name).aliases
    number = aliases.get(PREVIOUS)
    if number is None or str(number) == str(champion.version):
        number = champion.tags.get("replaces")
    if number is None:
        raise RegistryError(
            f"version {champion.version} of '{name}' is the first champion: there is no earlier "
            "one to go back to"
        )
    try:
        return client.get_model_version(name, str(number))
    except MlflowException as error:
        raise RegistryError(
            f"version {number} of '{name}', the previous champion, was deleted; promote a run "
            "instead (`segment compare` lists them)"
        ) from error


def copy_champion(*, tracking_uri: str, name: str, copy_to: str) -> Promotion:
    """Copy the champion to another registered model and make it the champion there.

    The copy refers to the same files and therefore has the same ids and names. An interrupted copy
    can be repeated.

    Parameters
    ----------
    tracking_uri : str
    name : str
    copy_to : str
        The other registered model, such as ``prod.customer-segments``; created if missing.

    Raises
    ------
    RegistryError
        There is no champion, or the other name cannot be used.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    there = check_copy(client, name, copy_to)
    champion = champion_version(client, name)
    if champion is None:
        raise RegistryError(
            f"registered model '{name}' has no champion to copy; promote a run first"
        )
    _make_registered_model(client, copy_to)
    source = f"models:/{name}/{champion.version}"
    made = [v for v in versions(client, copy_to) if v.source == source]
    # MLflow prints its own message about a copy on stderr; the command's is clearer.
    with contextlib.redirect_stderr(io.StringIO()):
        copy = made[0] if made else client.copy_model_version(source, copy_to)
    if there is None or there.version != copy.version:
        # Tags are copied too; this one is a version number of the original registered model.
        client.delete_model_version_tag(copy_to, copy.version, "replaces")
        make_champion(client, copy_to, copy.version, there)
    return Promotion(
        name=copy_to,
        version=int(copy.version),
        run_id=str(champion.run_id),
        previous=None if there is None else int(there.version),
    )


def now() -> str:
    """Return the current time as text."""
    return f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M:%S} UTC"


def _make_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name, description=DESCRIPTION.format(name=name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise RegistryError(f"registered model '{name}': {error.message}") from error


def _version_of(
    client: MlflowClient,
    run: Run,
    source: str,
    name: str,
    tags: dict[str, str],
    description: str | None,
) -> ModelVersion:
    """Return the model's version of the registered model, created if there is none."""
    _make_registered_model(client, name)
    copied = {key: run.data.tags[key] for key in COPIED_TAGS if key in run.data.tags}
    if "k" in run.data.metrics:
        copied["k"] = f"{run.data.metrics['k']:.0f}"
    tags = {**copied, **tags, "run_id": run.info.run_id}
    text = _describe(run, tags) + (f"\n\n{description}" if description else "")
    if len(text) > LONGEST:  # a PostgreSQL store refuses more
        text = f"{text[: LONGEST - 1]}…"
    for version in versions(client, name):
        if version.source == source:
            client.update_model_version(name, version.version, text)
            for key, value in tags.items():
                client.set_model_version_tag(name, version.version, key, value)
            return version
    logging.getLogger("mlflow.store.model_registry.abstract_store").setLevel(logging.WARNING)
    return client.create_model_version(
        name,
        source,
        run_id=run.info.run_id,
        model_id=source.removeprefix("models:/"),
        tags=tags,
        description=text,
    )


def _describe(run: Run, tags: Mapping[str, str]) -> str:
    """Describe the run in Markdown: what was clustered, how, how well and when."""
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
