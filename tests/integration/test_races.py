"""Processes that write to one store at the same moment lose nothing and mix nothing up."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import mlflow
import pytest
from mlflow import MlflowClient

from conftest import copy_store
from promotions import make_registry
from segmentation import segment
from segmentation.data.demo import generate_customers
from segmentation.registry.versions import MODEL_NAME
from segmentation.tracking.run_logger import _write_dataset
from segmentation.tracking.store import open_store, release_connections

from .conftest import mlflow_server

WRITERS = 6
ROUNDS = 8


def test_the_first_runs_of_a_data_set_at_once(store_uri: str) -> None:
    """MLflow's table holds a data set once; of inserts at one moment all but the first fail."""
    store = open_store(store_uri, "race")
    result = segment(generate_customers(30), choice="silhouette", k_max=2, effort="fast")
    together = Barrier(WRITERS)

    def write(run_id: str, digest: str) -> None:
        customers = replace(result.customers, digest=digest)
        together.wait()
        _write_dataset(store, run_id, replace(result, customers=customers))

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(ROUNDS):
            runs = [
                store.client.create_run(store.experiment_id).info.run_id for _ in range(WRITERS)
            ]
            list(pool.map(write, runs, [f"{number:036d}"] * WRITERS))
            logged = [store.client.get_run(run).inputs.dataset_inputs for run in runs]
            assert all(len(inputs) == 1 for inputs in logged)


def promote_at_once(uri: str, runs: list[str]) -> list[tuple[int, str, str]]:
    """Start `segment promote` for each run at the same moment; return exit codes and outputs."""
    command = [sys.executable, "-m", "segmentation", "promote", f"tracking.uri={uri}"]
    command += ["override=agreed", "promotion.loads=false"]
    started = [
        subprocess.Popen(
            [*command, f"run_id={run}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for run in runs
    ]
    done = [process.communicate(timeout=300) for process in started]
    return [(p.returncode, *texts) for p, texts in zip(started, done, strict=True)]


def check_ids(client: MlflowClient) -> dict[str, int]:
    """Check that no id means two segments; return the aliases."""
    versions = client.search_model_versions(f"name='{MODEL_NAME}'")
    ids = [one for v in versions for one in json.loads(v.tags["segment_ids"])]
    assert len(ids) == len(set(ids)), ids
    aliases = client.get_registered_model(MODEL_NAME).aliases
    assert set(aliases) == {"champion", "previous"}
    return {name: int(number) for name, number in aliases.items()}


@pytest.mark.slow
def test_two_promotions_as_commands(store_uri: str, tmp_path: Path) -> None:
    """Three times, each on a champion and two challengers that share no segment with it."""
    registry = make_registry(store_uri, "customer-segments", tmp_path, runs=3)
    database = Path(store_uri.removeprefix("sqlite:///"))
    registry.first(MODEL_NAME)
    backup = tmp_path / "before.db"
    shutil.copy(database, backup)
    for _ in range(3):
        release_connections()
        shutil.copy(backup, database)
        done = promote_at_once(store_uri, registry.runs[1:])
        release_connections()
        aliases = check_ids(registry.client)
        won = {}
        for code, out, err in done:
            assert code in (0, 3), err
            assert "Traceback" not in err
            if code == 0:
                (line,) = (line for line in out.splitlines() if "is champion now" in line)
                won[int(line.split("version ")[1].split()[0])] = line
        assert max(won) == aliases["champion"]
        if len(won) == 2:
            assert f"(was version {min(won)})" in won[max(won)]


@pytest.mark.slow
def test_two_promotions_on_a_server(fresh_store: Path, tmp_path: Path) -> None:
    """A server has no folder to lock: the processes take turns by tags of the registered model."""
    copy_store(fresh_store, tmp_path / "mlflow.db")
    with mlflow_server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path) as address:
        registry = make_registry(address, "customer-segments", tmp_path / "scratch", runs=3)
        registry.first(MODEL_NAME)
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda run: registry.promote(run, MODEL_NAME), (1, 2)))
        assert check_ids(registry.client)["champion"] == max(one.version for one in done)
        tags = registry.client.get_registered_model(MODEL_NAME).tags
        assert set(tags) == {"next_segment_id"}
    mlflow.set_tracking_uri(None)
