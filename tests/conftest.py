"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

# Set before anything imports mlflow.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset variables that would redirect tests to the caller's own store."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "SEGMENT_SWEEP"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real customer files; skip the test if it is missing."""
    folder = Path(os.environ.get("SEGMENT_TEST_DATA", REPO.parent / "shared" / "data"))
    if not (folder / "Mall_Customers_Gender.csv").exists():
        pytest.skip(f"real customer files not found in {folder} (set SEGMENT_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite store, created once, since MLflow takes seconds to create its tables."""
    from segmentation.tracking.store import open_store

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_store(f"sqlite:///{path}", "unused")
    return path


def copy_store(fresh_store: Path, path: Path) -> None:
    """Copy an empty store as if it had been made there, not moved there."""
    from segmentation.tracking import _compat

    shutil.copy(fresh_store, path)
    _compat.place_artifacts(path, (path.parent / "artifacts").as_uri())


@pytest.fixture
def store_uri(fresh_store: Path, tmp_path: Path) -> str:
    """URI of a new store for a single test."""
    path = tmp_path / "store" / "mlflow.db"
    path.parent.mkdir()
    copy_store(fresh_store, path)
    return f"sqlite:///{path}"


@pytest.fixture
def customers_csv(tmp_path: Path) -> Path:
    """A small CSV file of generated customers."""
    from segmentation.data.demo import generate_customers

    path = tmp_path / "customers.csv"
    generate_customers(60, seed=1).to_csv(path, index=False)
    return path


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes text to a CSV file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "input.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def frame() -> pd.DataFrame:
    """Generated customers without the id column."""
    from segmentation.data.demo import generate_customers

    return generate_customers(120, seed=2).drop(columns="customer_id")
