"""`segment fit` end to end: what a run in a real MLflow store holds afterwards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from conftest import REPO
from segmentation import log_result, segment
from segmentation.cli import main
from segmentation.data.demo import generate_customers

CURVE = {"wcss", "explained_variance", "silhouette", "calinski_harabasz", "davies_bouldin"}
CURVE |= {"smallest_share"}


@pytest.fixture
def client(store_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=store_uri, registry_uri=store_uri)


def runs(client: MlflowClient, name: str = "customer-segments") -> list[Run]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def artifacts(run: Run) -> Path:
    return Path(unquote(urlsplit(run.info.artifact_uri).path))


def fit(store_uri: str, *overrides: str) -> int:
    return main.run(["fit", *overrides, f"tracking.uri={store_uri}"])


def test_what_a_run_holds(store_uri, client, capfd) -> None:
    assert fit(store_uri, "features=age_income_spending", "k.max=6") == 0
    (run,) = runs(client)
    data = run.data
    assert run.info.status == "FINISHED"
    assert run.info.run_name.startswith("age_income_spending·standard·k")
    assert {"structure", "config_hash", "data_sha256", "code_version"} <= set(data.tags)
    assert data.tags["features"] == "age_income_spending"
    assert data.tags["scaling"] == "standard"
    assert "**" in data.tags["mlflow.note.content"]
    assert all(len(value) < 100 for value in data.params.values())

    k = int(data.metrics["k"])
    for name in CURVE:
        history = client.get_metric_history(run.info.run_id, f"curve/{name}")
        steps = {m.step: m.value for m in history}
        defined_at_one = name in ("wcss", "explained_variance", "smallest_share")
        assert set(steps) == set(range(1 if defined_at_one else 2, 7))
        if name in data.metrics:
            assert data.metrics[name] == pytest.approx(steps[k])
    wcss = [
        m.value
        for m in sorted(
            client.get_metric_history(run.info.run_id, "curve/wcss"), key=lambda m: m.step
        )
    ]
    assert wcss == sorted(wcss, reverse=True)

    folder = artifacts(run)
    figures = {path.stem for path in (folder / "figures").glob("*.png")}
    assert {
        "elbow",
        "silhouette_curve",
        "segment_map",
        "profile_heatmap",
        "distributions",
    } <= figures
    assert (folder / "report.html").stat().st_size > 10_000
    evidence = json.loads((folder / "evidence.json").read_text())
    assert evidence
    table = json.loads((folder / "tables" / "segments.json").read_text())
    assert len(table["data"]) == k
    customers = pd.read_csv(folder / "customers.csv", dtype={"customer_id": str})
    assert list(customers.columns) == ["customer_id", "segment", "segment_name", "distance"]
    assert customers.customer_id[0] == "0001"
    assert len(customers) == 200
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    assert stored["features"]["columns"] == ["age", "annual_income", "spending_score"]
    assert "tracking" not in stored
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.digest == data.tags["data_sha256"][:36]

    out = capfd.readouterr().out
    assert run.info.run_id in out
    assert (folder / "report.html").as_uri() in out


def test_the_logged_model_gives_the_runs_labels(store_uri, client, capfd) -> None:
    assert fit(store_uri, "features=all", "choice=silhouette", "k.max=5") == 0
    (run,) = runs(client)
    mlflow.set_tracking_uri(store_uri)
    frame = generate_customers()
    uri = f"models:/{run.outputs.model_outputs[0].model_id}"
    answer = mlflow.pyfunc.load_model(uri).predict(frame)
    customers = pd.read_csv(artifacts(run) / "customers.csv")
    assert list(answer.columns) == ["segment", "segment_name", "distance"]
    assert answer.segment.tolist() == customers.segment.tolist()
    assert answer.segment_name.tolist() == customers.segment_name.tolist()
    np.testing.assert_allclose(answer.distance, customers.distance)
    pipeline = mlflow.sklearn.load_model(uri)
    assert pipeline.predict(frame).tolist() == customers.segment.tolist()


def test_same_command_twice_gives_the_same(store_uri, client, capfd) -> None:
    arguments = ("features=income_spending", "k.max=6")
    assert fit(store_uri, *arguments) == 0
    assert fit(store_uri, *arguments) == 0
    first, second = runs(client)
    assert first.data.metrics == second.data.metrics
    assert first.data.tags["config_hash"] == second.data.tags["config_hash"]
    for path in sorted((artifacts(first) / "figures").glob("*.png")):
        twin = artifacts(second) / "figures" / path.name
        assert path.read_bytes() == twin.read_bytes(), path.name
    assert (artifacts(first) / "customers.csv").read_bytes() == (
        artifacts(second) / "customers.csv"
    ).read_bytes()


def test_terminal_shows_no_foreign_warning(store_uri, customers_csv) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "segmentation", "fit", "data=csv"),
            *(f"data.path={customers_csv}", "k.max=4", f"tracking.uri={store_uri}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "arning" not in done.stderr
    assert "INFO" not in done.stderr
    assert done.stdout.splitlines()[-1].startswith("Run:")


def test_customers_stay_here_when_asked(store_uri, client, capfd) -> None:
    assert fit(store_uri, "choice=silhouette", "k.max=3", "tracking.log_customers=false") == 0
    (run,) = runs(client)
    assert not (artifacts(run) / "customers.csv").exists()


def test_no_structure_is_an_answer(store_uri, client, tmp_path, capfd) -> None:
    rng = np.random.default_rng(5)
    path = tmp_path / "noise.csv"
    pd.DataFrame(rng.uniform(size=(200, 2)), columns=["a", "b"]).to_csv(path, index=False)
    assert fit(store_uri, "data=csv", f"data.path={path}", "k.min=2") == 0
    (run,) = runs(client)
    assert run.data.tags["structure"] == "no"
    assert "confidence" not in run.data.tags
    assert run.data.metrics["k"] == 1
    assert "silhouette" not in run.data.metrics
    assert "no cluster structure" in capfd.readouterr().out
    assert main.run(["promote", f"tracking.uri={store_uri}"]) == 3


def test_a_sweep_is_one_study(store_uri, client, capfd) -> None:
    arguments = ["fit", "-m", "features=income_spending,age_spending", "scaling=none,standard"]
    arguments += ["choice=silhouette", "k.max=4", f"tracking.uri={store_uri}"]
    assert main.run(arguments) == 0
    every = runs(client)
    (parent,) = [run for run in every if run.data.tags.get("study") == "yes"]
    children = [run for run in every if run is not parent]
    assert len(children) == 4
    assert all(run.info.status == "FINISHED" for run in every)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len({run.data.tags["sweep_id"] for run in every}) == 1
    assert "config_hash" not in parent.data.tags
    assert len({run.data.tags["config_hash"] for run in children}) == 4
    # What depends on the data alone is drawn once.
    assert (artifacts(parent) / "figures" / "distributions.png").exists()
    assert not any((artifacts(r) / "figures" / "distributions.png").exists() for r in children)
    out = capfd.readouterr().out
    assert f"segment compare sweep_id={parent.data.tags['sweep_id']}" in out

    arguments = ["compare", f"sweep_id={parent.data.tags['sweep_id']}", "format=csv"]
    assert main.run([*arguments, f"tracking.uri={store_uri}"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 5


def test_rerun_from_the_stored_config(store_uri, client, customers_csv, capfd) -> None:
    given = ("data=csv", f"data.path={customers_csv}", "scaling=minmax", "choice=silhouette")
    assert fit(store_uri, *given, "k.max=5", "seed=3") == 0
    (first,) = runs(client)
    assert fit(store_uri, f"run_id={first.info.run_id}") == 0
    assert fit(store_uri, f"run_id={first.info.run_id}", "scaling=robust", "k.max=4") == 0
    _, same, changed = runs(client)
    assert same.data.tags["config_hash"] == first.data.tags["config_hash"]
    assert same.data.metrics == first.data.metrics
    stored = yaml.safe_load((artifacts(changed) / "config.yaml").read_text())
    assert stored["scaling"] == {"name": "robust"}
    assert stored["k"] == {"min": 1, "max": 4}
    assert (stored["seed"], stored["data"]["path"]) == (3, str(customers_csv))


def test_promote_the_best(store_uri, client, capfd) -> None:
    assert fit(store_uri, "features=income_spending") == 0
    assert main.run(["promote", f"tracking.uri={store_uri}"]) == 0
    champion = client.get_model_version_by_alias("customer-segments", "champion")
    (run,) = runs(client)
    assert champion.run_id == run.info.run_id
    assert "customer-segments@champion" in capfd.readouterr().out
    # A champion is not replaced by itself.
    assert main.run(["promote", f"tracking.uri={store_uri}"]) == 3


def test_one_call_from_a_notebook(store_uri, client) -> None:
    result = segment(generate_customers(80), choice="silhouette", k_max=4)
    logged = log_result(result, uri=store_uri, experiment="notebook")
    (run,) = runs(client, "notebook")
    assert run.info.run_id == logged.run_id
    assert run.info.status == "FINISHED"
    assert logged.link.endswith("?workflowType=machine_learning")


def test_a_new_store_is_made_whole(tmp_path: Path, capfd) -> None:
    """Also below a folder that is not there yet; nothing but the store is left beside it."""
    uri = f"sqlite:///{tmp_path}/new/place/mlflow.db"
    assert fit(uri, "choice=silhouette", "k.max=3") == 0
    assert {path.name for path in (tmp_path / "new" / "place").iterdir()} == {
        "mlflow.db",
        "artifacts",
    }
    # Also for the experiment that `mlflow run` logs to.
    default = MlflowClient(tracking_uri=uri).get_experiment("0").artifact_location
    assert default == f"file://{tmp_path}/new/place/artifacts"


@pytest.mark.slow
def test_every_overlay_of_experiments_runs(store_uri, client, shared_data, capfd) -> None:
    """Small: few k and the cheap rule; the point is that none of them rots."""
    mall = shared_data / "Mall_Customers_Gender.csv"
    wholesale = shared_data / "Wholesale customers data.csv"
    for path in sorted((REPO / "experiments").glob("*/*.yaml")):
        text = path.read_text()
        overrides = [f"{path.parent.name}={path.stem}", "k.max=3", "choice=silhouette"]
        if "quantile" in text:
            # The one of 24 configurations: a third of them goes the same way.
            overrides.append("scaling=none,quantile")
        if "/data: mall" in text:
            overrides.append(f"data.path={mall}")
        if "/data: wholesale" in text:
            overrides.append(f"data.path='{wholesale}'")
        if "/data: cdnow" in text:
            overrides.append(f"data.path={shared_data / 'CDNOW_master.txt'}")
        assert fit(store_uri, *overrides) == 0, path
        capfd.readouterr()


@pytest.mark.slow
def test_mlflow_run_makes_one_run_for_a_fit_and_one_for_each_of_a_sweep(store_uri, client) -> None:
    def project(*arguments: str) -> None:
        command = [str(Path(sys.executable).parent / "mlflow"), "run", str(REPO)]
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "MLFLOW_TRACKING_URI": store_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        done = subprocess.run(
            [*command, *arguments, "--env-manager", "local"],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    fit_arguments = ["-P", "features=income_spending", "-P", "scaling=standard"]
    project("-e", "fit", *fit_arguments, "-P", "overrides=choice=silhouette k.max=4")
    default = client.search_runs(["0"])
    assert [run.info.status for run in default] == ["FINISHED"]
    assert default[0].data.metrics["k"] >= 2
    project("-e", "sweep", "-P", "overrides=choice=silhouette k.max=3")
    sweep = runs(client, "demo")
    assert sum("config_hash" in run.data.tags for run in sweep) == 4
    project("-e", "compare", "-P", "overrides=tracking.experiment=demo")
    project("-e", "promote", "-P", "overrides=tracking.experiment=demo")
    assert client.get_model_version_by_alias("customer-segments", "champion")


@pytest.mark.slow
def test_a_wheel_carries_its_configs(tmp_path: Path) -> None:
    """Installed away from a checkout, the store is the current directory's ``mlruns``."""
    if shutil.which("git") is None:
        pytest.skip("git is needed to copy the checkout without its build output")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--target", str(tmp_path / "site"), str(REPO)),
        ],
        check=True,
        capture_output=True,
    )
    done = subprocess.run(
        [sys.executable, "-m", "segmentation", "fit", "k.max=3", "choice=silhouette"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mlruns" / "mlflow.db").exists()
    assert (tmp_path / "site" / "segmentation" / "experiments" / "sweep" / "demo.yaml").exists()


def test_new_names_in_a_mapping(store_uri, client, capfd) -> None:
    """Hydra alone takes no new names in a mapping from the command line."""
    weights = "features.weights={annual_income: 2}"
    assert fit(store_uri, "features=income_spending", weights, "choice=silhouette", "k.max=3") == 0
    (run,) = runs(client)
    stored = yaml.safe_load((artifacts(run) / "config.yaml").read_text())
    assert stored["features"]["weights"] == {"annual_income": 2.0}
    # A changed feature set does not go by the name of the unchanged one.
    assert run.data.tags["features"] == "income_spending*"
    assert fit(store_uri, "features.wieghts={annual_income: 2}") == 2
    assert "features.weights" in capfd.readouterr().err


def test_a_gender_split_is_said_and_not_promoted(store_uri, client, tmp_path, capfd) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"sex": ["f", "m"] * 100, "age": rng.normal(40, 5, 200), "spend": rng.normal(50, 9, 200)}
    )
    path = tmp_path / "customers.csv"
    frame.to_csv(path, index=False)
    columns = "features.columns=[sex,age,spend]"
    given = ("data=csv", f"data.path={path}", columns, "scaling=minmax", "k.max=6")
    assert fit(store_uri, *given) == 0
    assert "Careful: " in capfd.readouterr().out
    (run,) = runs(client)
    assert "sex" in run.data.tags["careful"]
    assert main.run(["promote", f"tracking.uri={store_uri}", f"run_id={run.info.run_id}"]) == 3
    assert "features.weights" in capfd.readouterr().err


def test_the_next_command_finds_the_store(store_uri, client, capfd) -> None:
    assert fit(store_uri, "choice=silhouette", "k.max=3", "tracking.experiment=other") == 0
    assert f"segment ui tracking.uri={store_uri} tracking.experiment=other" in (
        capfd.readouterr().out
    )


def test_run_id_does_not_go_with_an_overlay(store_uri, client, capfd) -> None:
    assert fit(store_uri, "choice=silhouette", "k.max=3") == 0
    (run,) = runs(client)
    assert fit(store_uri, f"run_id={run.info.run_id}", "experiment=mall_classic") == 2
    assert "Leave out one of the two" in capfd.readouterr().err
