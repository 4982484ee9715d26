"""Take the screenshots of docs/mlflow-ui.md: a sweep of generated customers in the MLflow UI.

Run with ``python docs/make_screenshots.py``; needs Chromium and playwright.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]
PORT = 5077


def segment(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "segmentation", *arguments]


@contextmanager
def serving(store: str) -> Iterator[str]:
    """Serve the UI; yield the address that `segment ui` prints."""
    process = subprocess.Popen(
        segment("ui", f"port={PORT}", "tracking.experiment=demo", store),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield next(
            found.group(1)
            for line in process.stdout
            if (found := re.match(r"Open +(\S+)", line)) is not None
        )
    finally:
        process.terminate()
        process.wait(30)


def shot(browser: BrowserContext, address: str, wait_for: str, name: str) -> Page:
    page = browser.new_page()
    page.goto(address)
    page.get_by_text(wait_for).first.wait_for()
    page.wait_for_timeout(4000)
    assistant = page.get_by_text("MLflow Assistant")
    if assistant.count():
        assistant.first.locator("xpath=ancestor::*[.//button][1]//button").last.click()
        page.wait_for_timeout(1500)
    page.screenshot(path=IMAGES / f"{name}.png")
    return page


def main() -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is not installed")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        store = f"tracking.uri=sqlite:///{folder}/mlflow.db"
        done = subprocess.run(
            segment("fit", "sweep=demo", store), check=True, stdout=subprocess.PIPE, text=True
        )
        parent = re.search(r"^Sweep: +\S+(/runs/\w+)\?", done.stdout, re.M)
        assert parent is not None
        browser = playwright.chromium.launch_persistent_context(
            f"{folder}/profile",
            executable_path=chromium,
            headless=True,
            args=FLAGS,
            viewport={"width": 1400, "height": 900},
        )
        browser.set_default_timeout(60_000)
        with serving(store) as address:
            page = shot(browser, address, "income_spending", "ui_runs")
            page.locator("[role=checkbox], input[type=checkbox]").first.click()
            page.wait_for_timeout(800)
            page.get_by_role("button", name="Compare").click()
            page.get_by_text("Parallel Coordinates").first.wait_for()
            page.wait_for_timeout(4000)
            page.screenshot(path=IMAGES / "ui_compare.png")
            shot(browser, f"{address}&compareRunsMode=CHART", "income_spending", "ui_charts")
            summary = address.split("/runs")[0] + parent.group(1)
            shot(browser, f"{summary}?workflowType=machine_learning", "First of", "ui_sweep")
        browser.close()


if __name__ == "__main__":
    main()
