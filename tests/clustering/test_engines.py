"""The table of engines, and the contract on each of them and on one registered from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from contract import EngineContract
from sklearn.cluster import KMeans

from segmentation import log_result, segment
from segmentation.clustering import ENGINES, EngineLine
from segmentation.clustering.base import Clustering, Engine
from segmentation.clustering.engine_table import changed, option
from segmentation.clustering.in_memory import InMemoryEngine
from segmentation.clustering.rows import (
    check_ks,
    check_rows,
    check_seed,
    distinct_rows,
    labels_of,
    nearest_center,
)
from segmentation.data.demo import generate_customers
from segmentation.errors import ConfigError
from segmentation.pipeline import check_options


@dataclass(frozen=True)
class RestartOptions:
    """What the restarts take."""

    restarts: int = option(
        10, "runs of scikit-learn's KMeans for each k", least=1, why="is needed."
    )


@dataclass(frozen=True)
class Restarts:
    """scikit-learn's KMeans as it is: an engine from outside."""

    options: RestartOptions = field(default_factory=RestartOptions)
    improves_chosen: bool = False

    def with_options(self, **changes: Any) -> Restarts:
        return Restarts(changed(self.options, changes))

    def fit_k_range(
        self, rows: np.ndarray, ks: Iterable[int], *, seed: int
    ) -> dict[int, Clustering]:
        wanted = sorted(set(ks))
        check_seed(seed)
        check_rows(rows)
        points, weights = distinct_rows(rows, np.ones(len(rows)))
        check_ks(wanted, len(points))
        fitted: dict[int, Clustering] = {}
        for k in wanted:
            kmeans = KMeans(k, n_init=self.options.restarts, random_state=seed, tol=0)
            centers = kmeans.fit(points, sample_weight=weights).cluster_centers_
            centers = centers[np.lexsort(centers.T[::-1])]
            wcss = float(nearest_center(points, centers)[1] @ weights)
            fitted[k] = Clustering(k, centers, wcss, (wcss,), partial(labels_of, rows))
        return fitted

    def improve(
        self, rows: np.ndarray, clusterings: dict[int, Clustering], k: int, *, seed: int
    ) -> dict[int, Clustering]:
        return dict(clusterings)


class TestSklearn(EngineContract):
    weights = True

    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINES["sklearn"]


class TestSklearnOnTheSampledPath(EngineContract):
    size = 6_000
    #: Blocks of rows are added up in the order they stand in.
    row_order_same_bits = False

    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINES["sklearn"].with_options(path="sampled", effort="fast")


class TestFromOutside(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Restarts()


@pytest.fixture(scope="module")
def spark() -> Iterator[None]:
    pytest.importorskip("pyspark", reason="install the spark extra")
    from segmentation.config import EngineConfig
    from segmentation.spark import session

    session.open_session(EngineConfig("spark", master="local[2]"), lambda line: None)
    yield
    session.close()


@pytest.mark.slow
@pytest.mark.usefixtures("spark")
@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
class TestSpark(EngineContract):
    #: Rows are added up partition by partition.
    row_order_same_bits = False

    @pytest.fixture
    def engine(self) -> Engine:
        return ENGINES["spark"]

    @contextmanager
    def rows(self, Z: np.ndarray) -> Iterator[Any]:
        from pyspark.sql import SparkSession

        from segmentation.clustering.spark import SparkRows

        spark = SparkSession.getActiveSession()
        assert spark is not None
        frame = spark.createDataFrame(pd.DataFrame(Z, columns=[f"f{j}" for j in range(Z.shape[1])]))
        rows = SparkRows.of(frame, lambda part: part.to_numpy(), Z, len(Z), say=lambda line: None)
        try:
            yield rows
        finally:
            rows.release()


@pytest.fixture
def restarts() -> Iterator[None]:
    ENGINES.register(EngineLine("restarts", Restarts, RestartOptions))
    yield
    ENGINES._lines.pop("restarts")


def test_an_engine_from_outside_is_one_line(restarts: None, tmp_path: Path) -> None:
    frame = generate_customers(200)
    result = segment(frame, features=["annual_income", "spending_score"], engine="restarts")
    assert result.k == 5
    run = log_result(result, uri=f"sqlite:///{tmp_path}/store.db")
    from mlflow import MlflowClient

    logged = MlflowClient(f"sqlite:///{tmp_path}/store.db").get_run(run.run_id).data.params
    assert logged["engine"] == "restarts"
    with pytest.raises(ConfigError, match="allowed are sklearn, spark, restarts"):
        check_options(k_min=1, k_max=3, engine="abacus")


def test_options_of_an_engine_are_checked_by_its_line(restarts: None) -> None:
    assert ENGINES.configured("restarts", {"restarts": 3}).options.restarts == 3
    with pytest.raises(ConfigError, match=r"engine\.restarts=0: at least 1 is needed"):
        ENGINES.options("restarts", {"restarts": 0})
    # Those of other engines may stand in a config as long as nobody has set them.
    left = {"effort": "default", "path": "auto", "polish": "passes", "master": None}
    assert ENGINES.options("restarts", left) == RestartOptions()
    with pytest.raises(ConfigError, match=r"engine\.effort=fast belongs to engine=sklearn"):
        ENGINES.options("restarts", {**left, "effort": "fast"})
    with pytest.raises(ConfigError, match=r"engine\.path=exact .* engine=spark has one path"):
        ENGINES.options("spark", {"path": "exact"})
    assert set(ENGINES.fields) == {
        *("effort", "path", "polish", "master", "partitions", "sample", "restarts")
    }


def test_options_may_be_given_to_the_fit_itself() -> None:
    Z = np.random.default_rng(0).normal(size=(60, 2))
    engine = ENGINES["sklearn"]
    assert isinstance(engine, InMemoryEngine)
    fast = engine.with_options(effort="fast").fit_k_range(Z, [3], seed=0)[3]
    short = engine.fit_k_range(Z, [3], seed=0, effort="fast")[3]
    assert short.starts == fast.starts
    assert engine.options.effort == "default"


def test_the_table_imports_no_engine() -> None:
    code = (
        "import sys, segmentation.clustering as c; list(c.ENGINES); c.ENGINES.options('spark', {});"
        "print([m for m in ('numpy', 'sklearn', 'pyspark', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
