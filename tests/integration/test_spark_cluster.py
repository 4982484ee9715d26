"""engine=spark on a cluster that loses a worker, and what is left when it is interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from integration.conftest import START_SECONDS, free_port
from segmentation.config import EngineConfig
from segmentation.errors import ConfigError
from segmentation.spark import session

pyspark = pytest.importorskip("pyspark", reason="install the spark extra")

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
slow = pytest.mark.slow
ROWS = 100_000
PASS = "pass over all rows"

FIT = """
import json, sys
from segmentation.config import *
from segmentation.experiments.read import customers_of
from segmentation.experiments.run import compute
from segmentation.spark import session
path, master = sys.argv[1:]
config = FitConfig(
    data=DataConfig("parquet", path=path), features=FeaturesConfig("auto"),
    scaling={"name": "standard"}, k=KConfig(2, 6), choice={"name": "silhouette"},
    engine=EngineConfig("spark", master=master, sample=50_000), tracking=TrackingConfig(),
)
customers = customers_of(config)
for turn in ("undisturbed", "disturbed"):
    say = lambda line: print(turn, line, file=sys.stderr, flush=True)
    result = compute(customers, config, say)
    squared = result.curve["silhouette_squared"].dropna().tolist()
    sizes = [segment.size for segment in result.segments]
    print(json.dumps([result.curve["wcss"].tolist(), squared, sizes]))
session.close()
"""


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(9)
    X = rng.normal(0, 3, (4, 5))[rng.integers(4, size=ROWS)] + rng.gamma(2.0, 0.7, (ROWS, 5))
    table = pd.DataFrame(X, columns=[f"f{j}" for j in range(5)])
    table.insert(0, "customer_id", np.arange(ROWS))
    folder = tmp_path_factory.mktemp("cluster") / "customers"
    folder.mkdir()
    # Several files: a partition each, so that both workers have some.
    for part in range(8):
        table.iloc[part::8].to_parquet(folder / f"{part}.parquet", index=False)
    return folder


@contextlib.contextmanager
def daemon(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A master or worker of a standalone cluster, on loopback alone; ended with all it started."""
    script = Path(pyspark.__file__).parent / "bin" / "spark-class"
    log = folder / f"{name}-{len(list(folder.iterdir()))}.log"
    environment = {
        **os.environ,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
        "SPARK_DAEMON_JAVA_OPTS": "-Dspark.ui.enabled=false",
        "PYSPARK_PYTHON": sys.executable,
    }
    kind = f"org.apache.spark.deploy.{name.lower()}.{name}"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(script), kind, "--host", "127.0.0.1", *arguments],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
        )
    try:
        wait_for_daemon(name, process, log)
        yield process
    finally:
        kill_all(process.pid)
        process.wait(20)


def wait_for_daemon(name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "Successfully registered" not in (text := log.read_text()) and (
        name != "Master" or "New state: ALIVE" not in text
    ):
        assert process.poll() is None, text
        assert time.monotonic() < deadline, text
        time.sleep(0.2)


def kill_all(pid: int) -> None:
    """Kill a process of ours with -9, and all it has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def fitted_twice(parquet: Path, master: str, folder: Path, lose: int) -> list[list[list[float]]]:
    """What two fits of one process find; `lose` is killed at the first pass of the second."""
    process = subprocess.Popen(
        [sys.executable, "-c", FIT, str(parquet), master],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"},
    )
    said, killed = [], False
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if not killed and line.startswith("disturbed") and PASS in line:
            kill_all(lose)
            killed = True
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, "".join(said)[-3000:]
    assert killed
    return [json.loads(line) for line in out.splitlines()]


@slow
@needs_java
def test_a_lost_worker_changes_nothing(parquet: Path, tmp_path: Path) -> None:
    port = free_port()
    master = f"spark://127.0.0.1:{port}"
    options = ("--cores", "1", "--memory", "1g", "--webui-port", "0")
    options += ("--work-dir", str(tmp_path / "work"))
    with (
        daemon(tmp_path, "Master", "--port", str(port), "--webui-port", "0"),
        daemon(tmp_path, "Worker", *options, master) as lost,
        daemon(tmp_path, "Worker", *options, master),
    ):
        before, after = fitted_twice(parquet, master, tmp_path, lose=lost.pid)
        assert lost.wait(20) != 0
    for here, there in zip(before, after, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-9)


@slow
@needs_java
def test_nothing_is_left_after_an_interrupt(parquet: Path, tmp_path: Path, store_uri: str) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    command = [sys.executable, "-m", "segmentation", "fit", "engine=spark"]
    command += ["engine.master=local[2]", "data=parquet", f"data.path={parquet}", "k.max=6"]
    said, started = [], []
    with subprocess.Popen(
        [*command, f"tracking.uri={store_uri}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if PASS in line and not started:
                started = psutil.Process(process.pid).children(recursive=True)
                # As a terminal's Ctrl-C: everyone in the foreground gets it.
                os.killpg(process.pid, signal.SIGINT)
        process.wait(60)
    assert process.returncode == 130, "".join(said)[-3000:]
    assert "interrupted" in said[-1], "".join(said)[-3000:]
    assert started
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    # Hydra's scratch folder is the user's, and stays; nothing else may.
    assert [path for path in scratch.iterdir() if path.name != f"segment-{os.getuid()}"] == []


def test_without_java_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match="needs Java 17"):
        session.open_session(EngineConfig("spark", master="local[1]"), lambda line: None)


def test_without_pyspark_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    monkeypatch.setitem(sys.modules, "pyspark.errors", None)
    with pytest.raises(ConfigError, match=r"customer-segments\[spark\]"):
        session.open_session(EngineConfig("spark", master="local[1]"), lambda line: None)
