"""Stores, runs and models that earlier versions made go on working.

Each store in `assets` was written by that version's own commands: runs on 120 generated customers,
the first one champion, another one with another scaling, and a sweep of two runs. Figures and
reports are left out to keep it small. `store_0_1_0` is of version 0.1.0, with a run more;
`store_before_0_2_0` is of the main branch when its modules had moved into rooms and models had no
digests of their files yet.
"""

from __future__ import annotations

import json
import sqlite3
import tarfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from conftest import REPO
from segmentation import cli
from segmentation.data.demo import generate_customers
from segmentation.model import flavor, integrity
from segmentation.tracking.runs import finished_runs
from segmentation.tracking.store import open_store
from segmentation.tracking.view import VIEW_TAG

#: Where the artifacts lay when each store was made (an address no machine has), and its runs.
MADE = {"store_0_1_0": ("/segment-0.1.0", 5), "store_before_0_2_0": ("/segment-before-0.2.0", 4)}
#: Columns of the database that hold addresses of artifacts.
ADDRESSES = (
    ("runs", "artifact_uri"),
    ("experiments", "artifact_location"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


@pytest.fixture(params=MADE)
def made_by(request: pytest.FixtureRequest) -> str:
    """Name of the store."""
    return str(request.param)


@pytest.fixture
def old_store(made_by: str, tmp_path: Path) -> str:
    """The store, unpacked and told where it lies now."""
    made_at, _ = MADE[made_by]
    with tarfile.open(REPO / "tests" / "assets" / f"{made_by}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    folder = tmp_path / "store"
    with sqlite3.connect(folder / "mlflow.db") as database:
        for table, column in ADDRESSES:
            moved = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            database.execute(moved, (made_at, str(folder)))
    for path in folder.rglob("MLmodel"):
        path.write_text(path.read_text("utf-8").replace(made_at, str(folder)), "utf-8")
    return f"sqlite:///{folder / 'mlflow.db'}"


def runs_of(uri: str) -> pd.DataFrame:
    return finished_runs(open_store(uri, "customer-segments")).set_index("run_id")


def run_named(uri: str, name: str) -> str:
    runs = runs_of(uri)
    return str(runs.index[runs["run"] == name][0])


def test_its_champion_loads_and_says_the_same(old_store: str) -> None:
    customers = generate_customers(120)
    version = flavor.load("models:/customer-segments@champion", tracking_uri=old_store)
    assert version.version == "1"
    mlflow.set_tracking_uri(old_store)
    answer = mlflow.pyfunc.load_model("models:/customer-segments@champion").predict(customers)
    run = Path(old_store.removeprefix("sqlite:///")).parent / "artifacts"
    tables = [pd.read_csv(path) for path in run.glob("*/artifacts/customers.csv")]
    told = [table["segment"].to_numpy() for table in tables]
    assert any(np.array_equal(answer["segment"].to_numpy(), labels) for labels in told)


def test_its_runs_are_compared(
    old_store: str, made_by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["compare", f"tracking.uri={old_store}"]) == 0
    shown = capsys.readouterr().out
    runs = runs_of(old_store)
    assert len(runs) == MADE[made_by][1]
    assert all(name in shown for name in runs["run"])
    assert "were made by an earlier version: their gap does not count" in shown
    assert "= 1" not in shown


def test_two_of_its_runs_are_compared(old_store: str, capsys: pytest.CaptureFixture[str]) -> None:
    quantile = run_named(old_store, "income_spending·quantile·k5")
    other = next(each for each in runs_of(old_store).index if each != quantile)
    runs = f"runs=[{quantile[:12]},{other[:12]}]"
    assert cli.run(["compare", runs, f"tracking.uri={old_store}"]) == 0
    shown = capsys.readouterr().out
    assert "of 120 customers" in shown
    assert "Settings that differ" in shown
    assert all(f"A{i} " in shown for i in range(5))


def test_its_ui_shows_the_new_order_once_its_runs_are_compared(
    old_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["compare", "format=json", f"tracking.uri={old_store}"]) == 0
    ranked = [row["run_id"] for row in json.loads(capsys.readouterr().out)]
    store = open_store(old_store, "customer-segments")
    stored = store.client.get_experiment(store.experiment_id).tags[VIEW_TAG]
    assert json.loads(stored)["version"] == 2
    shown = store.client.search_runs(
        [store.experiment_id], "metrics.k > 0", order_by=["metrics.`rank_order` ASC"]
    )
    assert [run.info.run_id for run in shown] == ranked


def test_its_champion_scores(
    old_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scored.csv"
    customers = tmp_path / "customers.csv"
    generate_customers(50, seed=3).to_csv(customers, index=False)
    to = f"tracking.uri={old_store}"
    assert cli.run(["score", "data=csv", f"data.path={customers}", f"out={out}", to]) == 0
    assert len(pd.read_csv(out)) == 50
    assert "has no digests of its files" in capsys.readouterr().err


def test_it_may_have_been_moved(made_by: str, tmp_path: Path) -> None:
    """Its records still name the folder where it was made."""
    with tarfile.open(REPO / "tests" / "assets" / f"{made_by}.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    uri = f"sqlite:///{tmp_path / 'store' / 'mlflow.db'}"
    out, customers = tmp_path / "scored.csv", tmp_path / "customers.csv"
    generate_customers(50, seed=3).to_csv(customers, index=False)
    to = f"tracking.uri={uri}"
    assert cli.run(["score", "data=csv", f"data.path={customers}", f"out={out}", to]) == 0
    assert cli.run(["clean", "relocate=true", to]) == 0
    mlflow.set_tracking_uri(uri)
    mlflow.pyfunc.load_model("models:/customer-segments@champion")


@pytest.mark.slow
def test_its_champion_is_monitored(old_store: str, tmp_path: Path) -> None:
    customers = tmp_path / "customers.csv"
    generate_customers(300).to_csv(customers, index=False)
    to = f"tracking.uri={old_store}"
    assert cli.run(["monitor", "data=csv", f"data.path={customers}", to]) == 0


@pytest.mark.slow
def test_its_runs_run_again_with_the_same_numbers(old_store: str, made_by: str) -> None:
    before = runs_of(old_store)
    # Each run takes seconds; those of the newer store without the evidence are enough.
    again_from = before if made_by == "store_0_1_0" else before[before["structure"] == "untested"]
    for run_id, row in again_from.iterrows():
        assert cli.run(["fit", f"run_id={run_id}", f"tracking.uri={old_store}"]) == 0
        after = runs_of(old_store)
        again = after.loc[[each for each in after.index if each not in before.index]]
        new = again[again["run"] == row["run"]].iloc[0]
        # The gap is measured against another null since.
        for metric in ("k", "wcss", "silhouette", "smallest_share", "stability"):
            if not pd.isna(row[metric]):
                assert new[metric] == pytest.approx(row[metric], rel=1e-9)
        assert new["data_sha256"] == row["data_sha256"]


@pytest.mark.slow
def test_its_run_is_promoted_against_its_champion_and_back(
    old_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    to = f"tracking.uri={old_store}"
    challenger = run_named(old_store, "income_spending·quantile·k5")
    command = ["promote", f"run_id={challenger}", "override=trial", to]
    assert cli.run(command) == 2
    assert "add trust=true" in capsys.readouterr().err
    code = cli.run([*command, "trust=true"])
    assert code == 0, capsys.readouterr().err
    assert "version 2 is champion now (was version 1)" in capsys.readouterr().out
    # From now on both have digests.
    client = mlflow.MlflowClient(old_store)
    for version in "12":
        assert integrity.recorded(client, f"models:/customer-segments/{version}").files is not None
    assert cli.run(["rollback", to]) == 0
    assert "version 1 is champion again" in capsys.readouterr().out
