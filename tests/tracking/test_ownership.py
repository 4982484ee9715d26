from __future__ import annotations

import os
from pathlib import Path

import pytest
from mlflow.entities import Run

from segmentation.tracking import run_logger
from segmentation.tracking.items import File
from segmentation.tracking.ownership import shared_with
from segmentation.tracking.runs import CONFIG_FILE
from segmentation.tracking.store import Store, open_store


@pytest.fixture
def logged(store_uri: str) -> tuple[Store, Run]:
    """A run with a config in a store that only this user can write."""
    umask = os.umask(0o077)
    try:
        store = open_store(store_uri, "own")
        run = store.client.create_run(store.experiment_id)
        run_logger.write_items(store, run, [File(CONFIG_FILE, b"seed: 0")])
    finally:
        os.umask(umask)
    return store, run


def places(store: Store, run: Run) -> list[Path]:
    """Everything through which others could change the config."""
    database = Path(store.uri.removeprefix("sqlite:///"))
    config = Path(run.info.artifact_uri.removeprefix("file://")) / CONFIG_FILE
    return [database, database.parent, config, *config.parents[:3]]


def test_it_is_this_users_alone(logged: tuple[Store, Run]) -> None:
    assert shared_with(*logged) is None


@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_others_can_write_one_of_its_files_or_folders(logged: tuple[Store, Run], mode: int) -> None:
    for path in places(*logged):
        before = path.stat().st_mode
        path.chmod(before | mode)
        assert f"chmod -R go-w {path}" in str(shared_with(*logged))
        path.chmod(before)
    assert shared_with(*logged) is None


def test_another_user_owns_it(logged: tuple[Store, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert "belongs to another user" in str(shared_with(*logged))


def test_a_missing_file_is_not_trusted(logged: tuple[Store, Run]) -> None:
    places(*logged)[2].unlink()
    assert "cannot be checked" in str(shared_with(*logged))


def test_a_server_or_a_database_is_shared(logged: tuple[Store, Run]) -> None:
    store, run = logged
    for uri in ("http://127.0.0.1:5000", "postgresql://me@127.0.0.1/mlflow"):
        assert "not a local file" in str(shared_with(Store(uri, store.client, "1", "own"), run))
