"""The aliases by which other programs load the registered model.

`champion` is the version to use, `previous` the one before it, `challenger` one that is about to
become the champion. An alias moves in one step, and `champion` moves last, so that a crash at any
point leaves a champion that loads. Whoever moves an alias holds the registered model (`locking`)
and checks before and after that nobody else has moved it.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from segmentation.errors import RegistryError
from segmentation.model import model_files
from segmentation.registry import locking
from segmentation.registry.locking import Check
from segmentation.registry.registration import make_registered_model, register
from segmentation.registry.versions import (
    CHAMPION,
    KNOWN,
    MODEL_NAME,
    PROMOTION,
    UNCHECKED,
    Overtaken,
    champion_version,
    finished_run,
    model_of,
    versions,
)
from segmentation.tracking import process

CHALLENGER, PREVIOUS = "challenger", "previous"
#: Tags of a version that was rolled back: when and by whom, and why.
ROLLED_BACK = ("rolled_back", "rolled_back_reason")
#: Tag of a version: the champion it replaced.
REPLACES = "replaces"
#: Tags that refer to versions of the registered model itself, and so are wrong in a copy.
OF_ITS_MODEL = (REPLACES, KNOWN)


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
    overridden : tuple of str
        The gates that failed and were overridden.
    """

    name: str
    version: int
    run_id: str
    previous: int | None
    overridden: tuple[str, ...] = ()

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

    The version's tag ``promotion`` says ``unchecked``, unless `tags` say otherwise. A model that
    already has a version keeps it, so that an interrupted promotion can be repeated.

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
    make_registered_model(client, name)
    with locking.exclusive(client, tracking_uri, name) as check:
        champion = champion_version(client, name)
        marked = {PROMOTION: UNCHECKED, **(tags or {})}
        version, _ = register(client, run, source, name, tags=marked, description=description)
        make_champion(client, name, version.version, champion, check)
    return Promotion(
        name=name,
        version=int(version.version),
        run_id=run_id,
        previous=None if champion is None else int(champion.version),
    )


def make_champion(
    client: MlflowClient, name: str, version: str, champion: ModelVersion | None, check: Check
) -> None:
    """Move the aliases to `version`, with `champion` after `previous`.

    Parameters
    ----------
    client : MlflowClient
    name, version : str
    champion : ModelVersion or None
        The champion that `version` may replace.
    check : callable
        From `segmentation.registry.locking.exclusive`.

    Raises
    ------
    Overtaken
        Another version is or has become the champion in the meantime.
    """
    check_champion(client, name, champion)
    client.set_registered_model_alias(name, CHALLENGER, version)
    try:
        if champion is not None and champion.version != version:
            # A tag too: a crash after the next line would leave `previous` on the champion.
            client.set_model_version_tag(name, version, REPLACES, str(champion.version))
            client.set_registered_model_alias(name, PREVIOUS, champion.version)
        _clear_rollback(client, name, version)
        _move_champion(client, name, version, champion, check)
    finally:
        client.delete_registered_model_alias(name, CHALLENGER)


def check_champion(client: MlflowClient, name: str, expected: ModelVersion | None) -> None:
    """Raise `Overtaken` unless the champion is the expected version, or missing if that is None."""
    found = _champion_number(client, name)
    wanted = None if expected is None else int(expected.version)
    if found != wanted:
        became = f"version {found} of '{name}' became the champion"
        if found is None:
            became = f"the champion of '{name}' was removed"
        before = "there was none" if wanted is None else f"it was version {wanted}"
        raise Overtaken(f"{became} in the meantime; before, {before}")


def _move_champion(
    client: MlflowClient, name: str, version: str, champion: ModelVersion | None, check: Check
) -> None:
    check()
    check_champion(client, name, champion)
    client.set_registered_model_alias(name, CHAMPION, version)
    found = _champion_number(client, name)
    if found != int(version):
        raise Overtaken(
            f"version {version} of '{name}' was the champion for a moment only; "
            f"{'no version' if found is None else f'version {found}'} is the champion now"
        )


def _champion_number(client: MlflowClient, name: str) -> int | None:
    number = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if number is None else int(number)


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
    _champion_to_roll_back(client, name)
    with locking.exclusive(client, tracking_uri, name) as check:
        champion = _champion_to_roll_back(client, name)
        previous = _previous_of(client, champion, name)
        check()
        check_champion(client, name, champion)
        taken = (f"{now()} by {process.user()}", reason or "not given")
        for key, value in zip(ROLLED_BACK, taken, strict=True):
            client.set_model_version_tag(name, champion.version, key, value)
        client.set_registered_model_alias(name, PREVIOUS, champion.version)
        _clear_rollback(client, name, str(previous.version))
        _move_champion(client, name, previous.version, champion, check)
    return Promotion(
        name=name,
        version=int(previous.version),
        run_id=str(previous.run_id),
        previous=int(champion.version),
    )


def _champion_to_roll_back(client: MlflowClient, name: str) -> ModelVersion:
    champion = champion_version(client, name)
    if champion is None:
        raise RegistryError(
            f"registered model '{name}' has no champion to roll back; make one with "
            "`segment promote`, or name another registered model with model=NAME"
        )
    return champion


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
        number = champion.tags.get(REPLACES)
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


def copy_champion(*, tracking_uri: str, name: str, copy_to: str, trust: bool = False) -> Promotion:
    """Copy the champion to another registered model and make it the champion there.

    The copy refers to the same files, which are checked first, and therefore has the same ids and
    names. An interrupted copy can be repeated.

    Parameters
    ----------
    tracking_uri : str
    name : str
    copy_to : str
        The other registered model, such as ``prod.customer-segments``; created if missing.
    trust : bool
        Accept a champion without digests of its files; it gets them.

    Raises
    ------
    RegistryError
        There is no champion, its files have changed, or the other name cannot be used.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    check_copy(client, name, copy_to)
    champion = champion_version(client, name)
    if champion is None:
        raise RegistryError(
            f"registered model '{name}' has no champion to copy; promote a run first"
        )
    source = f"models:/{name}/{champion.version}"
    with tempfile.TemporaryDirectory(prefix="segment-") as scratch:
        checked = model_files.fetch(source, Path(scratch, "champion"), trust=trust)
    make_registered_model(client, copy_to)
    with locking.exclusive(client, tracking_uri, copy_to) as check:
        there = champion_version(client, copy_to)
        made = [v for v in versions(client, copy_to) if v.source == source]
        # MLflow prints its own message about a copy on stderr; the command's is clearer.
        with contextlib.redirect_stderr(io.StringIO()):
            copy = made[0] if made else client.copy_model_version(source, copy_to)
        if there is None or there.version != copy.version:
            model_files.record(client, checked)
            for key in OF_ITS_MODEL:
                client.delete_model_version_tag(copy_to, copy.version, key)
            make_champion(client, copy_to, copy.version, there, check)
    return Promotion(
        name=copy_to,
        version=int(copy.version),
        run_id=str(champion.run_id),
        previous=None if there is None else int(there.version),
    )


def now() -> str:
    """Return the current time as text."""
    return f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
