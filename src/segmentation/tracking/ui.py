"""Serve the MLflow UI on a store, in a process that ends with this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from segmentation.errors import TrackingError
from segmentation.tracking.store import SERVERS, Store, without_password

START_SECONDS = 60
#: MLflow's job queue for evaluating language models would add eight processes of 250 MiB each.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def serve(store: Store, *, host: str, port: int) -> None:
    """Serve the UI until interrupted, and print the link to the experiment once it answers.

    Raises
    ------
    TrackingError
        The port is in use, or the server ends before it answers.
    """
    if store.uri.startswith(SERVERS):
        print(f"The store is a server with its own UI: {store.link()}")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TrackingError(
                f"cannot serve on {host}:{port} ({error.strerror}). Choose another port: "
                f"segment ui port={port + 1}"
            ) from error
    print("Starting the MLflow UI (this takes a few seconds) ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store.uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    server = subprocess.Popen(
        command,
        env={**ENVIRONMENT, **os.environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        base = f"http://{host}:{port}"
        _wait(server, base)
        print(f"MLflow UI on {without_password(store.uri)}")
        print(f"Open   {store.link(base=base)}")
        print("Ctrl-C stops it.", flush=True)
        server.communicate()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(server: subprocess.Popen[str], base: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{base}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    server.terminate()
    _, log = server.communicate()
    raise TrackingError(f"the MLflow UI did not start: {log.strip().splitlines()[-1:]}")
