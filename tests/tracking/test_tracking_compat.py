"""What tracking knows of MLflow beyond its documented interface holds for this version."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import mlflow
import pandas as pd

from segmentation.tracking import _compat
from segmentation.tracking.store import open_store

CHANGED = f"MLflow {mlflow.__version__} changed it: see tracking/_compat.py"


def test_a_store_has_the_tables_it_is_known_by(fresh_store: Path) -> None:
    with contextlib.closing(sqlite3.connect(fresh_store)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        assert {name for (name,) in rows} >= _compat.STORE_TABLES, CHANGED


def test_the_default_experiment_keeps_its_artifacts_beside_the_store(fresh_store: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{fresh_store}")
    expected = (fresh_store.parent / "artifacts").as_uri()
    found = {each.artifact_location for each in client.search_experiments()}
    assert all(each.startswith(expected) for each in found), CHANGED


def test_our_tables_are_named_as_mlflow_names_its_own(store_uri: str) -> None:
    store = open_store(store_uri, "tables")
    run = store.client.create_run(store.experiment_id)
    for path in ("one.json", "two.json"):
        store.client.log_table(run.info.run_id, pd.DataFrame({"a": [1]}), path)
    theirs = store.client.get_run(run.info.run_id).data.tags[_compat.TABLES_TAG]
    ours = _compat.tables_tag(_compat.tables_tag(None, ["one.json"]), ["two.json", "one.json"])
    assert json.loads(theirs) == json.loads(ours), CHANGED


def test_connections_of_mlflows_stores_are_closed(store_uri: str) -> None:
    open_store(store_uri, "connections")
    (engine,) = (each for each in _compat._engines if str(each.url) == store_uri)
    pool = engine.pool
    _compat.release_connections()
    assert engine.pool is not pool, CHANGED


def test_addresses_of_artifacts_are_where_they_are_looked_for(fresh_store: Path) -> None:
    with contextlib.closing(sqlite3.connect(fresh_store)) as connection:
        for table, column in _compat.ADDRESSES:
            columns = connection.execute(f"PRAGMA table_info({table})").fetchall()
            assert column in [name for _, name, *_ in columns], CHANGED
