"""Sweeps one can trust: no run lost or doubled in parallel, killed sweeps go on where they were."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from segmentation.cli import main

GRID = ("features=income_spending,age_spending,age_income_spending,all", "k.max=3")
SCALINGS = "scaling=none,standard,minmax,robust,power,quantile"
CHEAP = ("choice=silhouette", "engine.effort=fast")
LAUNCHERS = {
    "serial": ("hydra/launcher=basic",),
    "fork": ("hydra.launcher.processes=2",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
}
FOUR_AT_A_TIME = {
    "fork": ("hydra.launcher.processes=4",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=4"),
}


def runs(store_uri: str, name: str = "customer-segments") -> list[Run]:
    client = MlflowClient(tracking_uri=store_uri)
    experiment = client.get_experiment_by_name(name)
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def fitted(store_uri: str) -> list[Run]:
    return [run for run in runs(store_uri) if "config_hash" in run.data.tags]


def finished(store_uri: str) -> list[Run]:
    return [run for run in fitted(store_uri) if run.info.status == "FINISHED"]


def sweep(store_uri: str, *overrides: str) -> int:
    return main.run(["fit", "-m", *overrides, *CHEAP, f"tracking.uri={store_uri}"])


def command(store_uri: str, *overrides: str) -> list[str]:
    return [
        *(sys.executable, "-m", "segmentation", "fit", "-m"),
        *(*overrides, *CHEAP, f"tracking.uri={store_uri}"),
    ]


def test_the_parent_run_answers_the_question(store_uri: str, capfd) -> None:
    assert sweep(store_uri, *GRID[1:], "features=income_spending,all", "scaling=none,standard") == 0
    (parent,) = [run for run in runs(store_uri) if run.data.tags.get("study") == "yes"]
    note = parent.data.tags["mlflow.note.content"]
    assert "First of 4" in note
    # Its numbers and settings, and none that would make it a row of the ranking.
    first, *_ = sorted(finished(store_uri), key=lambda run: run.data.metrics["rank_order"])
    metrics = parent.data.metrics
    assert (metrics["configurations"], metrics["runs"]) == (4, 4)
    assert metrics["answers"] == max(run.data.metrics["rank"] for run in finished(store_uri))
    assert metrics["first/k"] == first.data.metrics["k"]
    assert "k" not in metrics
    assert parent.data.tags["first"] == first.info.run_name
    settings = {"features": "income_spending,all", "scaling": "none,standard", "k_max": "3"}
    assert {**settings, "data": "demo"}.items() <= parent.data.params.items()
    # Sweep and experiment have the same runs, so a run has the same place in both.
    for run in finished(store_uri):
        assert run.data.metrics["sweep_rank"] == run.data.metrics["rank"]
    assert "adjusted Rand index" in note
    client = MlflowClient(tracking_uri=store_uri)
    figures = {item.path for item in client.list_artifacts(parent.info.run_id, "figures")}
    assert figures == {f"figures/{n}.png" for n in ("curves", "grid", "agreement", "distributions")}
    out, err = capfd.readouterr()
    assert "[4/4]" in err
    assert "best so far" in err
    assert re.search(r"Agreement of the first [234] answers", out)
    assert re.search(r"^Why: +\S", out, re.M)
    assert re.search(r"It (comes|stands) before", note)
    # The page it points at leads to the page of every run.
    report = Path(unquote(urlsplit(re.findall(r"^Report: (\S+)", out, re.M)[-1]).path))
    html = report.read_text(encoding="utf-8")
    assert parent.info.run_id in str(report)
    assert html.count("<figure") == 3
    assert "segment fit -m k.max=3" in html
    reports = re.findall(r'href="([^":]+report\.html)"', html)
    assert len(reports) == 4
    titles = {re.search("<title>(.*)</title>", (report.parent / r).read_text())[1] for r in reports}
    assert titles == {run.info.run_name for run in finished(store_uri)}


def test_what_is_done_is_not_done_again(store_uri: str, capfd) -> None:
    definition = (*GRID[1:], "scaling=none,standard,minmax")
    assert sweep(store_uri, *definition) == 0
    first = {run.info.run_id for run in finished(store_uri)}
    capfd.readouterr()
    assert sweep(store_uri, *definition) == 0
    assert {run.info.run_id for run in finished(store_uri)} == first
    out, err = capfd.readouterr()
    assert "3 of 3 already done" in err
    # The ranking is printed all the same.
    assert "income_spending·minmax" in out
    assert sweep(store_uri, *definition, "force=true") == 0
    assert len(finished(store_uri)) == 6
    # Still one parent run.
    assert sum(run.data.tags.get("study") == "yes" for run in runs(store_uri)) == 1


def test_the_ranking_does_without_the_files_of_runs(store_uri: str, capfd) -> None:
    definition = ("k.max=3", "scaling=none,standard")
    assert sweep(store_uri, *definition) == 0
    for run in fitted(store_uri):
        shutil.rmtree(unquote(urlsplit(run.info.artifact_uri).path))
    capfd.readouterr()
    assert sweep(store_uri, *definition) == 0
    assert "2 of 2 already done" in capfd.readouterr().err


def test_a_failed_configuration_does_not_stop_the_others(store_uri: str, capfd) -> None:
    assert sweep(store_uri, "k.max=3,500", "scaling=none,standard") == 2
    assert len(finished(store_uri)) == 2
    out, err = capfd.readouterr()
    assert "2 of 4 finished" in out
    assert "500" in err


def test_gaps_in_a_column_no_run_asks_for_stop_no_sweep(
    store_uri: str, customers_csv: Path, capfd
) -> None:
    frame = pd.read_csv(customers_csv)
    frame.assign(visits=[None, 3.0, 5.0] * (len(frame) // 3)).to_csv(customers_csv, index=False)
    where = ("data=csv", f"data.path={customers_csv}", "features.columns=[age,annual_income]")
    assert sweep(store_uri, *GRID[1:], *where, "scaling=none,standard") == 0
    client = MlflowClient(tracking_uri=store_uri)
    for run in finished(store_uri):
        file = Path(client.download_artifacts(run.info.run_id, "tables/profile.json"))
        table = pd.read_json(file, orient="split")
        assert "visits" in set(table["feature"])
    (parent,) = [run for run in runs(store_uri) if run.data.tags.get("study") == "yes"]
    figures = {item.path for item in client.list_artifacts(parent.info.run_id, "figures")}
    assert "figures/distributions.png" in figures


def test_a_key_given_twice_is_swept_once(store_uri: str, capfd) -> None:
    """`scaling` of the sweep file is replaced by the command line's, not multiplied with it."""
    arguments = ["fit", "sweep=demo", "scaling=robust", "k.max=3", *CHEAP]
    assert main.run([*arguments, f"tracking.uri={store_uri}"]) == 0
    found = [run for run in runs(store_uri, "demo") if "config_hash" in run.data.tags]
    assert [run.data.tags["scaling"] for run in found] == ["robust", "robust"]
    assert "[2/2]" in capfd.readouterr().err


def test_the_reference_space_is_the_same_for_all(store_uri: str, capfd) -> None:
    """Runs with equal segments have equal reference numbers, whatever space made them."""
    scalings = "scaling=none,standard,minmax"
    assert sweep(store_uri, "features=income_spending", scalings, "k.max=5") == 0
    for run in finished(store_uri):
        assert {"reference/silhouette", "reference/wcss"} <= set(run.data.metrics)
    assert main.run(["compare", f"tracking.uri={store_uri}"]) == 0
    assert "ref. silhouette" in capfd.readouterr().out


def test_clean_marks_only_what_is_gone(store_uri: str, capfd) -> None:
    # In this process, which is still there.
    assert sweep(store_uri, "k.max=2", "seed=0,1", "hydra/launcher=basic") == 0
    client = MlflowClient(tracking_uri=store_uri)
    gone, here = finished(store_uri)
    for run in (gone, here):
        client.update_run(run.info.run_id, status="RUNNING")
    client.set_tag(gone.info.run_id, "process.ticks", "1")
    capfd.readouterr()
    assert main.run(["clean", f"tracking.uri={store_uri}"]) == 0
    assert capfd.readouterr().out.startswith("1 run was left behind")
    assert client.get_run(gone.info.run_id).info.status == "KILLED"
    assert client.get_run(here.info.run_id).info.status == "RUNNING"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", FOUR_AT_A_TIME.values(), ids=FOUR_AT_A_TIME)
def test_parallel_on_a_new_store_loses_and_doubles_nothing(
    tmp_path: Path, launcher: tuple[str, ...], capfd
) -> None:
    # The race to make the tables is run at the start: small sweeps run it as well as large ones.
    for attempt, (grid, total) in enumerate([(GRID, 24), (GRID[1:], 6), (GRID[1:], 6)]):
        uri = f"sqlite:///{tmp_path}/store{attempt}/mlflow.db"
        assert sweep(uri, *grid, SCALINGS, *launcher) == 0
        assert len(finished(uri)) == len(fitted(uri)) == total
        assert len({run.data.tags["config_hash"] for run in fitted(uri)}) == total


@pytest.mark.slow
def test_joblib_processes_serve_one_sweep(store_uri: str) -> None:
    for seeds in ("seed=0,1", "seed=2,3"):
        assert sweep(store_uri, seeds, "k.max=3", *LAUNCHERS["joblib"]) == 0
    studies = [run.data.tags["sweep_id"] for run in finished(store_uri)]
    assert sorted(Counter(studies).values()) == [2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
def test_killed_at_any_moment_it_goes_on(
    store_uri: str, fresh_store: Path, tmp_path: Path, launcher: tuple[str, ...], capfd
) -> None:
    definition = (SCALINGS, "k.max=3", *launcher)
    moments = random.Random(4)
    for _ in range(3):
        known = len(runs(store_uri))
        process = subprocess.Popen(
            command(store_uri, *definition),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while len(runs(store_uri)) == known and process.poll() is None:
            time.sleep(0.1)
        time.sleep(moments.uniform(0, 3))
        # When all was done before, it has ended.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert sweep(store_uri, *definition) == 0
    assert not [run for run in runs(store_uri) if run.info.status == "RUNNING"]
    done = {run.data.tags["config_hash"]: run.data.metrics for run in finished(store_uri)}
    assert len(done) == len(finished(store_uri)) == 6

    unbroken = f"sqlite:///{tmp_path}/unbroken/mlflow.db"
    assert sweep(unbroken, *definition) == 0
    assert {run.data.tags["config_hash"]: run.data.metrics for run in finished(unbroken)} == done


@pytest.mark.slow
def test_the_same_sweep_started_twice_at_once_runs_once(store_uri: str) -> None:
    definition = ("scaling=none,standard", "k.max=2")
    for attempt in range(3):
        both = [
            subprocess.Popen(
                command(store_uri, *definition, f"seed={attempt}"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        errors = [process.communicate(timeout=300)[1] for process in both]
        codes = [process.returncode for process in both]
        # The second may be so late that everything is done.
        assert sorted(codes) in ([0, 2], [0, 0]), errors
        if 2 in codes:
            assert "is running already (process" in errors[codes.index(2)]
            assert "Traceback" not in errors[codes.index(2)]
        done = [run.data.tags["config_hash"] for run in finished(store_uri)]
        assert len(set(done)) == len(done) == 2 * (attempt + 1)
        studies = [run for run in runs(store_uri) if run.data.tags.get("study") == "yes"]
        assert [run.info.status for run in studies] == ["FINISHED"] * (attempt + 1)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS.values(), ids=LAUNCHERS)
def test_interrupted_it_leaves_the_store_clean(store_uri: str, launcher: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        command(store_uri, "seed=range(0,60)", "k.max=4", *launcher),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(finished(store_uri)) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert finished(store_uri)
    assert not [run for run in runs(store_uri) if run.info.status == "RUNNING"]


def test_other_default_features_are_another_study(store_uri: str, capfd) -> None:
    """What `features=auto` stands for is part of the configuration, though named by the data."""
    assert sweep(store_uri, *GRID[1:], "scaling=standard,minmax") == 0
    other = "data.default_features.columns=[age,spending_score]"
    assert sweep(store_uri, *GRID[1:], "scaling=standard,minmax", other) == 0
    assert len({run.data.tags["config_hash"] for run in finished(store_uri)}) == 4
    assert "already done" not in capfd.readouterr().err


def test_reruns_of_two_runs_are_two_studies(store_uri: str, capfd) -> None:
    assert sweep(store_uri, *GRID[1:], "scaling=standard,minmax") == 0
    first, second = (run.info.run_id for run in finished(store_uri))
    for run_id in (first, second):
        arguments = ["fit", "-m", f"run_id={run_id}", "seed=1,2", f"tracking.uri={store_uri}"]
        assert main.run(arguments) == 0
    assert "already done" not in capfd.readouterr().err
    assert len(finished(store_uri)) == 6


def wait_for_finished(store_uri: str, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(finished(store_uri)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_forks_end_when_the_process_that_waits_is_killed(store_uri: str, fresh_store: Path) -> None:
    definition = ("seed=range(0,40)", "k.max=4", *LAUNCHERS["fork"])
    process = subprocess.Popen(
        command(store_uri, *definition), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_finished(store_uri, 2)
    forks = psutil.Process(process.pid).children()
    assert len(forks) == 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(forks, timeout=20)
    assert not alive
    # They have ended their own runs; only the parent run is left to the next start.
    assert {run.info.status for run in fitted(store_uri)} <= {"FINISHED", "KILLED"}


@pytest.mark.slow
def test_a_killed_fork_is_told_and_its_runs_are_made_up_for(
    store_uri: str, fresh_store: Path
) -> None:
    definition = ("seed=range(0,12)", "k.max=4", "hydra.launcher.processes=2")
    process = subprocess.Popen(
        command(store_uri, *definition),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_finished(store_uri, 2)
    psutil.Process(process.pid).children()[0].kill()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "ended before its job did" in err
    assert not [run for run in runs(store_uri) if run.info.status == "RUNNING"]
    assert subprocess.run(command(store_uri, *definition), capture_output=True).returncode == 0
    assert len({run.data.tags["config_hash"] for run in finished(store_uri)}) == 12
    assert len(finished(store_uri)) == 12


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_mistake_in_the_last_job_is_told_before_the_first(
    store_uri: str, name: str, capfd
) -> None:
    assert sweep(store_uri, *GRID[1:], "scaling=none,standard,nosuch", *LAUNCHERS[name]) == 2
    assert "nosuch" in capfd.readouterr().err
    assert not fitted(store_uri)


def test_the_numbers_are_the_same_from_any_launcher(store_uri: str, tmp_path: Path) -> None:
    definition = (*GRID[1:], "features=income_spending,all", "scaling=standard,quantile")
    numbers = {}
    for name in ("serial", "fork"):
        uri = f"sqlite:///{tmp_path}/{name}/mlflow.db"
        assert sweep(uri, *definition, *LAUNCHERS[name]) == 0
        numbers[name] = {run.data.tags["config_hash"]: run.data.metrics for run in finished(uri)}
    assert numbers["serial"] == numbers["fork"]


def test_small_customers_are_swept_on_all_cores(store_uri: str, capfd, monkeypatch) -> None:
    monkeypatch.setattr("segmentation.runtime.threads.cpu_count", lambda: 2)
    assert sweep(store_uri, "k.max=2", "seed=0,1,2") == 0
    assert "2 at a time" in capfd.readouterr().err
    assert len({run.data.tags["process.pid"] for run in finished(store_uri)}) == 2
    monkeypatch.setattr("segmentation.runtime.threads.SMALL", 100)
    assert sweep(store_uri, "k.max=2", "seed=3,4") == 0
    assert "at a time" not in capfd.readouterr().err


def test_as_many_processes_as_asked_and_at_least_one(store_uri: str, capfd) -> None:
    assert sweep(store_uri, "k.max=2", "seed=0,1", "hydra.launcher.processes=0") == 2
    assert "hydra.launcher.processes=0" in capfd.readouterr().err
