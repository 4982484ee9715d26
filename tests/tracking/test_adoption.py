"""Only a run without a result is logged to, through the command that a user or MLflow calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run

from segmentation.cli import main
from segmentation.tracking import process

PRESET = {"mlflow.source.type": "PROJECT", "mlflow.project.entryPoint": "fit"}
Mark = Callable[[MlflowClient, str], object]
HOLDS_A_RESULT: dict[str, Mark] = {
    "metrics": lambda client, run: client.log_metric(run, "wcss", 2.08),
    "tags": lambda client, run: client.set_tag(run, "config_hash", "c1"),
    "finished": lambda client, run: client.set_terminated(run, "FINISHED"),
    "deleted": lambda client, run: client.delete_run(run),
    "sweep": lambda client, run: client.set_tag(run, "study", "yes"),
}


@pytest.fixture
def client(store_uri: str) -> MlflowClient:
    return MlflowClient(store_uri)


def preset(client: MlflowClient) -> str:
    """Create a run as `mlflow run -e fit -P k_max=3` does."""
    run = client.create_run("0", tags=PRESET)
    client.log_batch(run.info.run_id, params=[Param("k_max", "3"), Param("overrides", "")])
    return str(run.info.run_id)


def fit(client: MlflowClient, *overrides: str) -> int:
    return main.run(
        ["fit", "k.max=3", "choice=silhouette", f"tracking.uri={client.tracking_uri}", *overrides]
    )


def content(run: Run) -> tuple[object, ...]:
    return (run.data.metrics, run.data.params, run.data.tags, run.info.status, run.info.end_time)


def test_a_preset_run_is_adopted(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = preset(client)
    client.log_batch(run_id, metrics=[Metric("system/cpu_utilization_percentage", 50.0, 0, 0)])
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert fit(client) == 0
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["k"] > 0
    assert run.data.params["k_max"] == "3"


@pytest.mark.parametrize("mark", HOLDS_A_RESULT.values(), ids=HOLDS_A_RESULT)
def test_a_run_with_a_result_is_refused_before_anything_is_computed(
    mark: Mark, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path
) -> None:
    run_id = preset(client)
    mark(client, run_id)
    before = content(client.get_run(run_id))
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    # A file that is not there would be the error if anything were read.
    assert fit(client, "data=csv", f"data.path={tmp_path / 'nothing.csv'}") == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith(f"segment: error: MLFLOW_RUN_ID={run_id}")
    assert "Unset MLFLOW_RUN_ID" in err
    assert "\n" not in err
    assert content(client.get_run(run_id)) == before


def test_a_run_that_another_process_logs_is_refused(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    run_id = preset(client)
    for name, value in {**process.tags(), process.PID: "1", process.NAMESPACE: "pid:[1]"}.items():
        client.set_tag(run_id, name, value)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert fit(client) == 2
    assert "is being logged by process 1" in capsys.readouterr().err


def test_a_run_that_failed_without_a_result_is_tried_again(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = preset(client)
    client.set_tag(run_id, "error", "out of memory")
    client.set_terminated(run_id, "FAILED")
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert fit(client) == 0
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert "error" not in run.data.tags


def test_a_run_that_is_not_there_is_named(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    assert fit(client) == 2
    assert f"MLFLOW_RUN_ID={'0' * 32}: there is no run" in capsys.readouterr().err
