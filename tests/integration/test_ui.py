"""MLflow's own UI, served by `segment ui` and looked at in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from conftest import copy_store
from segmentation import LoggedRun, log_result, segment
from segmentation.cli import main
from segmentation.data.demo import generate_customers

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
PATIENCE_MS = 60_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def logged(fresh_store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LoggedRun, str]:
    path = tmp_path_factory.mktemp("ui") / "mlflow.db"
    copy_store(fresh_store, path)
    result = segment(generate_customers(), features=["annual_income", "spending_score"])
    return log_result(result, uri=f"sqlite:///{path}"), f"sqlite:///{path}"


@pytest.fixture(scope="module")
def ui(logged: tuple[LoggedRun, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the experiment that `segment ui` prints once it serves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("ui-log") / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "segmentation", "ui", f"port={port}"),
                f"tracking.uri={logged[1]}",
            ],
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"^Open +(\S+)", log.read_text(), re.M)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def browser(ui: str) -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            # Columns out of sight are not in the page, and at the first visit MLflow's assistant
            # takes a part of the window.
            viewport={"width": 1900, "height": 900},
        )
        browser.set_default_timeout(PATIENCE_MS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page of its own: the UI ignores some changes of an open page's address."""
    opened = browser.new_page()
    yield opened
    opened.close()


def run_address(ui: str, run_id: str, tab: str) -> str:
    experiment = ui.split("/runs?")[0]
    return f"{experiment}/runs/{run_id}/{tab}?workflowType=machine_learning"


def test_the_printed_link_opens_the_runs_table(page, ui, logged) -> None:
    page.goto(ui)
    page.get_by_text(logged[0].name).first.wait_for()
    page.get_by_text("Model training").first.wait_for()
    page.get_by_text("Each run fits K-Means over a whole range of k").first.wait_for()
    # The saved view behind the link: metrics that may be compared, as columns.
    page.get_by_role("columnheader", name="gap").first.wait_for()


def test_the_runs_are_in_the_order_of_the_ranking(page, ui, logged, capsys) -> None:
    """Equal runs share a rank; the newest of them, which MLflow would show first, is not."""
    for scaling in ("none", "standard", "minmax"):
        overrides = [f"scaling={scaling}", "k.max=6", "data=demo", "features=income_spending"]
        assert main.run(["fit", *overrides, f"tracking.uri={logged[1]}"]) == 0
    capsys.readouterr()
    assert main.run(["compare", "format=json", f"tracking.uri={logged[1]}"]) == 0
    ranked = json.loads(capsys.readouterr().out)
    assert len({row["rank"] for row in ranked}) < len(ranked)
    page.goto(ui)
    page.locator(".ag-row").first.wait_for()
    page.wait_for_function(f"document.querySelectorAll('.ag-row').length >= {len(ranked)}")

    def column(name: str) -> list[str]:
        cells = page.locator(f".ag-row .ag-cell[col-id='{name}']").all()
        rows = {int(c.locator("xpath=..").get_attribute("row-index")): c for c in cells}
        return [rows[place].inner_text() for place in sorted(rows)]

    names = [text.splitlines()[-1] for text in column("attributes.`Run Name`")]
    assert names == [row["run"] for row in ranked]
    assert column("metrics.`rank`") == [str(row["rank"]) for row in ranked]
    assert column("params.`data`") == [row["data"] for row in ranked]
    assert column("params.`scaling`") == [row["scaling"] for row in ranked]
    left = {
        header.get_attribute("col-id"): header.bounding_box()["x"]
        for header in page.locator(".ag-header-cell").all()
    }
    shown = ["rank", "data", "features", "scaling", "k", "structure", "confidence", "stability"]
    found = [next(left[key] for key in left if f"`{name}`" in key) for name in [*shown, "gap"]]
    assert found == sorted(found)
    assert max(found) < left["metrics.`silhouette`"]


def test_metric_curves_are_charts(page, ui, logged) -> None:
    page.goto(run_address(ui, logged[0].run_id, "model-metrics"))
    page.get_by_text("calinski_harabasz", exact=True).first.wait_for()
    page.get_by_text("silhouette", exact=True).first.wait_for()
    page.locator("svg.main-svg").first.wait_for()


def test_figures_are_shown(page, ui, logged) -> None:
    page.goto(run_address(ui, logged[0].run_id, "artifacts/figures/elbow.png"))
    image = page.locator("img[src^='blob:'], img[src*='elbow']").first
    image.wait_for()
    page.wait_for_function("image => image.naturalWidth > 400", arg=image.element_handle())


def test_the_report_is_shown(page, ui, logged) -> None:
    page.goto(run_address(ui, logged[0].run_id, "artifacts/report.html"))
    frame = page.frame_locator("iframe").first
    frame.locator("h1").first.wait_for()


def test_the_report_of_a_sweep_is_shown(page, ui, logged) -> None:
    """In a frame that opens no links: each run's id is in the page to be found by."""
    overrides = ["scaling=none,standard", "k.max=3", "choice=silhouette", "engine.effort=fast"]
    assert main.run(["fit", "-m", *overrides, f"tracking.uri={logged[1]}"]) == 0
    client = MlflowClient(tracking_uri=logged[1])
    experiment = client.get_experiment_by_name("customer-segments").experiment_id
    (parent,) = client.search_runs([experiment], "tags.study = 'yes'")
    (first, second) = client.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    )
    assert parent.data.metrics["runs"] == 2
    assert parent.data.params["scaling"] == "none,standard"
    page.goto(run_address(ui, parent.info.run_id, "overview"))
    page.get_by_text("first/k").first.wait_for()
    page.goto(run_address(ui, parent.info.run_id, "artifacts/report.html"))
    frame = page.frame_locator("iframe").first
    frame.get_by_text("comes first of 2 runs").first.wait_for()
    for run in (first, second):
        frame.get_by_text(run.info.run_id).first.wait_for()


def test_the_port_is_taken(ui, logged) -> None:
    port = re.search(r":(\d+)/", ui).group(1)
    done = subprocess.run(
        [sys.executable, "-m", "segmentation", "ui", f"port={port}", f"tracking.uri={logged[1]}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert f"port={int(port) + 1}" in done.stderr
