"""The logged model in a program that has MLflow, scikit-learn, skops and pandas, and not us."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
import pandas as pd
import pytest

from portable_models import customers, new_store, portable
from segmentation.model import flavor
from segmentation.registry.aliases import promote

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[2]
IDS = [7, 0, 4]
SCRIPT = """
import importlib.util, json, sys
import mlflow, pandas as pd

assert importlib.util.find_spec("segmentation") is None
frame = pd.read_csv("customers.csv")
answers = []
for uri in sys.argv[1:]:
    answer = mlflow.pyfunc.load_model(uri).predict(frame)
    index = mlflow.sklearn.load_model(uri).predict(frame)
    answers.append({"index": index.tolist(), **answer.to_dict("list")})
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return customers(40, seed=9)


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> Iterator[tuple[str, str, Any]]:
    """Store, ``models:/m-…`` URI and the model that was logged; it is the champion, too."""
    uri, experiment = new_store(tmp_path_factory)
    client = mlflow.MlflowClient(uri)
    run_id = client.create_run(experiment, tags={"structure": "yes"}).info.run_id
    model = portable(customers(), categories={"gender": ["Female", "Male"]}, segment_ids=IDS)
    info = flavor.log(model, client=client, run=client.get_run(run_id))
    client.set_terminated(run_id)
    promote(run_id, tracking_uri=uri)
    yield uri, info.model_uri, model
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, logged, frame) -> tuple[Path, dict[str, str]]:
    """Folder ``bin`` of a venv with the model's requirements alone, and its environment."""
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / "bin"
    requirements = mlflow.pyfunc.get_model_dependencies(logged[1], format="pip")
    constraints = REPO / "constraints.txt"
    command = [programs / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
    if constraints.exists():
        command += ["--constraint", constraints]
    subprocess.run([*command, "--requirement", requirements], check=True)
    frame.to_csv(folder / "customers.csv", index=False)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {
        "MLFLOW_TRACKING_URI": logged[0],
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{programs}{os.pathsep}{env['PATH']}",
        "VIRTUAL_ENV": str(folder / "venv"),
    }
    return programs, env


def run(elsewhere: tuple[Path, dict[str, str]], program: str, *arguments: str) -> str:
    programs, env = elsewhere
    done = subprocess.run(
        [programs / program, *arguments],
        env=env,
        cwd=programs.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_model_and_champion_load_and_give_the_same_segments(elsewhere, logged, frame):
    _, uri, model = logged
    out = run(elsewhere, "python", "-c", SCRIPT, uri, "models:/customer-segments@champion")
    index = model.pipeline.predict(frame)
    distance = model.pipeline.transform(frame).min(axis=1)
    answers = json.loads(out.splitlines()[-1])
    assert len(answers) == 2
    for answer in answers:
        assert answer["index"] == index.tolist()
        assert answer["segment"] == [IDS[i] for i in index]
        assert answer["segment_name"] == [f"s{IDS[i]}" for i in index]
        assert answer["distance"] == pytest.approx(distance)


def test_mlflow_models_predict_reads_a_csv(elsewhere, logged, frame):
    arguments = ("-m", logged[1], "--env-manager", "local", "-t", "csv")
    run(
        elsewhere,
        "mlflow",
        "models",
        "predict",
        *arguments,
        "-i",
        "customers.csv",
        "-o",
        "out.json",
    )
    written = json.loads((elsewhere[0].parents[1] / "out.json").read_text(encoding="utf-8"))
    expected = [IDS[i] for i in logged[2].pipeline.predict(frame)]
    assert [row["segment"] for row in written["predictions"]] == expected


@pytest.fixture(scope="module")
def server(elsewhere) -> Iterator[str]:
    """Address of ``mlflow models serve`` on the champion."""
    programs, env = elsewhere
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = programs.parents[1] / "server.log"
    command = [programs / "mlflow", "models", "serve", "-m", "models:/customer-segments@champion"]
    options = ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "--workers", "1"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, *options],
            env=env,
            cwd=programs.parents[1],
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not is_up(address):
            gone = process.poll() is not None or time.monotonic() > deadline
            assert not gone, f"the server did not come up:\n{log.read_text()}"
            time.sleep(0.2)
        yield address
    finally:
        # The server is a child of the command: both are in the session that was started for them.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def ask(address: str, body: str) -> tuple[int, dict[str, Any]]:
    """Status and decoded answer of the scoring server."""
    request = urllib.request.Request(
        f"{address}/invocations", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def records(**values: Any) -> str:
    return json.dumps({"dataframe_records": [values]})


GOOD = {"age": 45, "income": 60, "gender": "Male"}


def test_server_takes_integers_floats_text_and_extra_columns(server, logged):
    expected = IDS[logged[2].pipeline.predict(pd.DataFrame([GOOD]))[0]]
    for change in ({}, {"age": 45.0, "income": 60.0}, {"age": "45"}, {"customer_id": "0007"}):
        status, answer = ask(server, records(**GOOD | change))
        assert status == 200, answer
        (row,) = answer["predictions"]
        assert (row["segment"], row["segment_name"]) == (expected, f"s{expected}")
        assert row["distance"] > 0


def test_server_takes_many_customers_at_once(server, logged, frame):
    expected = [IDS[i] for i in logged[2].pipeline.predict(frame)]
    for body in (
        {"dataframe_split": frame.to_dict("split")},
        {"dataframe_records": frame.to_dict("records")},
        {"inputs": frame.to_dict("list")},
    ):
        status, answer = ask(server, json.dumps(body))
        assert status == 200, answer
        assert [row["segment"] for row in answer["predictions"]] == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"age": 45, "gender": "Male"}, ["'income'"]),
        ({**GOOD, "gender": "Other"}, ["'gender'", "'Other'", "'Female', 'Male'"]),
        ({**GOOD, "age": "abc"}, ["'age'", "'abc'", "index 0"]),
        ({**GOOD, "age": None}, ["'age'", "index 0"]),
        ({**GOOD, "age": float("inf")}, ["'age'", "inf"]),
        ({**GOOD, "age": 10**400}, ["'age'", "index 0"]),
    ],
    ids=["missing-column", "unseen-category", "text", "null", "infinity", "huge"],
)
def test_server_answers_400_and_says_what_is_wrong(server, values, said):
    status, answer = ask(server, records(**values))
    assert status == 400
    for part in said:
        assert part in answer["message"]
