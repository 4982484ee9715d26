"""A shared MLflow server: sweeps over HTTP, PostgreSQL behind it, a password in front of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from conftest import REPO, copy_store
from segmentation.cli import main
from segmentation.data.demo import generate_customers

from .conftest import mlflow_server

pytestmark = pytest.mark.slow

SWEEP = ["features=income_spending,all", "k.max=3"]
SWEEP += ["scaling=none,standard,minmax,robust,power,quantile", "choice=silhouette"]
SWEEP += ["engine.effort=fast", "hydra/launcher=joblib", "hydra.launcher.n_jobs=4"]


@pytest.fixture(scope="module")
def server(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    copy_store(fresh_store, folder / "mlflow.db")
    with mlflow_server(f"sqlite:///{folder}/mlflow.db", folder) as address:
        yield address


def finished(client: MlflowClient) -> list[str]:
    experiment = client.get_experiment_by_name("customer-segments")
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    return [run.data.tags["config_hash"] for run in runs if "config_hash" in run.data.tags]


def test_a_parallel_sweep_over_http_loses_nothing(server: str, capfd) -> None:
    assert main.run(["fit", "-m", *SWEEP, "tracking=server", f"tracking.uri={server}"]) == 0
    done = finished(MlflowClient(tracking_uri=server))
    assert len(done) == len(set(done)) == 12
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("customer-segments").experiment_id
    lines = [run.data.metrics.get("rank_order") for run in client.search_runs([experiment])]
    assert sorted(line for line in lines if line is not None) == [*range(1, 13)]
    # The links of the last lines are the server's own.
    assert f"Sweep:  {server}/#/experiments/" in capfd.readouterr().out


def test_customer_rows_stay_here(server: str, capfd) -> None:
    """`tracking=server` keeps the customer table off the shared server, unless told otherwise."""
    arguments = ["fit", "choice=silhouette", "k.max=3", f"tracking.uri={server}", "tracking=server"]
    assert main.run([*arguments, "tracking.experiment=private"]) == 0
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("private")
    (run,) = client.search_runs([experiment.experiment_id])
    paths = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert "report.html" in paths
    assert "customers.csv" not in paths


def _reader(address: str, name: str, password: str) -> None:
    """Make a user who may only read, while the run's place is out of date."""
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name("customer-segments").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.data.metrics["rank"] == 1
    client.log_metric(run.info.run_id, "rank", 9)
    done = requests.post(
        f"{address}/api/2.0/mlflow/users/create",
        json={"username": name, "password": password},
        auth=("admin", "a-long-password"),
        timeout=30,
    )
    done.raise_for_status()


def test_behind_a_password_with_postgresql(
    postgres: str, tmp_path: Path, monkeypatch, capfd
) -> None:
    """docs/server.md: SQLite to PostgreSQL with basic auth; the model is loaded over HTTP only."""
    pytest.importorskip("flask_wtf")
    ini = tmp_path / "auth.ini"
    ini.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{tmp_path}/auth.db\n"
        "admin_username = admin\nadmin_password = a-long-password\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    secrets = {"MLFLOW_AUTH_CONFIG_PATH": str(ini), "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 32}
    with mlflow_server(
        postgres, tmp_path, "--app-name", "basic-auth", environment=secrets
    ) as address:
        arguments = ["fit", "tracking=server", f"tracking.uri={address}"]
        assert main.run(arguments) == 2
        assert "MLFLOW_TRACKING_USERNAME" in capfd.readouterr().err

        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a-long-password")
        assert main.run([*arguments, "features=income_spending"]) == 0
        assert main.run(["promote", "tracking=server", f"tracking.uri={address}"]) == 0
        _reader(address, "ada", "another-password")
        with monkeypatch.context() as other:
            other.setenv("MLFLOW_TRACKING_USERNAME", "ada")
            other.setenv("MLFLOW_TRACKING_PASSWORD", "another-password")
            capfd.readouterr()
            assert main.run(["compare", f"tracking.uri={address}", "format=csv"]) == 0
            out, err = capfd.readouterr()
            assert out.startswith("run,")
            assert "may be out of date" in err
        customers = tmp_path / "customers.csv"
        generate_customers().to_csv(customers, index=False)
        code = (
            "import sys, mlflow, pandas as pd; mlflow.set_tracking_uri(sys.argv[1]); "
            "model = mlflow.pyfunc.load_model('models:/customer-segments@champion'); "
            "print(model.predict(pd.read_csv(sys.argv[2])).segment.nunique())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, address, str(customers)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": ""},
        )
        assert done.stdout.strip() == "5", done.stderr


def test_the_document_names_what_is_tested() -> None:
    text = (REPO / "docs" / "server.md").read_text(encoding="utf-8")
    for word in ("basic-auth", "postgresql+psycopg", "MLFLOW_TRACKING_USERNAME", "tracking=server"):
        assert word in text
