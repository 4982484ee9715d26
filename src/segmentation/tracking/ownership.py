"""Whether anybody but this user can have changed what a run has stored."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mlflow.entities import Run

from segmentation.tracking.runs import CONFIG_FILE, local_path
from segmentation.tracking.store import SQLITE, Store


def shared_with(store: Store, run: Run) -> str | None:
    """Return why others may have changed the config of a run, or None if only this user can.

    A store is this user's alone if its database, the folders of its artifacts and the config are
    local, belong to the user and cannot be written by anybody else.

    Parameters
    ----------
    store : Store
    run : Run
    """
    artifacts = local_path(store, str(run.info.artifact_uri))
    if not store.is_local or artifacts is None:
        return "the store is not a local file, so others may be able to write to it"
    if not hasattr(os, "geteuid"):
        return "this system does not tell who can write to the store"
    database = Path(store.uri.removeprefix(SQLITE))
    # MLflow puts the artifacts of a run into <location of the experiment>/<run id>/artifacts.
    folders = [artifacts, *artifacts.parents[:2]]
    for path in (database, database.parent, artifacts / CONFIG_FILE, *folders):
        try:
            found = path.stat()
        except OSError as error:
            return f"{path} cannot be checked ({error.strerror})"
        if found.st_uid != os.geteuid():
            return f"{path} belongs to another user"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{path} can be written by other users (if it should not: chmod -R go-w {path})"
    return None
