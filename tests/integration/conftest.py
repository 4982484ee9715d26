"""Real servers for the integration tests, on free ports, stopped by process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from segmentation.tracking import ui

START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer from {address}: {log.read_text()}")


@contextlib.contextmanager
def mlflow_server(
    backend: str, folder: Path, *options: str, environment: dict[str, str] | None = None
) -> Iterator[str]:
    """Start an MLflow server with proxied artifacts; yield its address."""
    port = free_port()
    log = folder / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend),
                *("--artifacts-destination", str(folder / "artifacts")),
                *("--host", "127.0.0.1", "--port", str(port), "--workers", "1", *options),
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ui.ENVIRONMENT, **(environment or {})},
            cwd=folder,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(process, address, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Start a PostgreSQL server; yield the URL of an empty database."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = shutil.which("initdb") or (str(found[-1]) if found else None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed")
    # PostgreSQL refuses to run as root.
    runner = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    user = "postgres"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="segment-pg-") as folder:
        if runner:
            shutil.chown(folder, user, user)
        data = f"{folder}/data"
        make = [initdb, "-D", data, "-U", user, "--auth=trust", "--no-sync"]
        subprocess.run([*runner, *make], check=True, capture_output=True, cwd="/")
        server = subprocess.Popen(
            [
                *(*runner, str(Path(initdb).with_name("postgres")), "-D", data, "-p", str(port)),
                *("-h", "127.0.0.1", "-k", folder, "-F"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        try:
            url = f"postgresql+psycopg://{user}:unused-secret@127.0.0.1:{port}/postgres"
            _wait_for_postgres(url)
            yield url
        finally:
            server.terminate()
            server.wait(20)


def _wait_for_postgres(url: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    engine = create_engine(url)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with engine.connect():
                break
        except OperationalError:
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.2)
    engine.dispose()
