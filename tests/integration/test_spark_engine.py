"""engine=spark against the same data in memory, with one Spark session for nearly all of it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

pytest.importorskip("pyspark", reason="install the spark extra")
if shutil.which("java") is None:
    pytest.skip("Spark needs Java", allow_module_level=True)

from segmentation.cli.commands import fit as fit_command
from segmentation.cli.commands import promote, score
from segmentation.cli.commands.call import Call
from segmentation.clustering import ENGINES
from segmentation.clustering.spark import SparkRows
from segmentation.config import (
    DataConfig,
    EngineConfig,
    FeaturesConfig,
    FitConfig,
    KConfig,
    PromoteConfig,
    ScoreConfig,
    TrackingConfig,
)
from segmentation.data.customers import from_frame
from segmentation.errors import DataError, GateRefused, RegistryError
from segmentation.experiments.read import customers_of
from segmentation.experiments.run import compute
from segmentation.features.encoding import build_encoder
from segmentation.features.feature_set import FeatureSet, resolve
from segmentation.registry import gates
from segmentation.result import SegmentationResult
from segmentation.spark import session
from segmentation.spark.encoder import fit_encoder
from segmentation.spark.sample import SparkCustomers, SparkSampler
from segmentation.spark.table import read_table
from segmentation.tracking.store import open_store

pytestmark = pytest.mark.slow

ENGINE = EngineConfig("spark", master="local[2]", sample=50_000)
ROWS = 120_000
NUMBERS = [f"f{column}" for column in range(6)]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    yield session.open_session(ENGINE, lambda line: None)
    session.close()


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Overlapping skewed groups, a text and some spends."""
    rng = np.random.default_rng(5)
    groups = rng.choice(5, ROWS, p=[0.35, 0.25, 0.2, 0.15, 0.05])
    centers = rng.normal(0, 3, (5, len(NUMBERS)))
    X = centers[groups] + rng.gamma(3.0, 0.5, (ROWS, len(NUMBERS)))
    table = pd.DataFrame(X * [1, 10, 100, 1, 1000, 1] + 20, columns=NUMBERS)
    table.insert(0, "customer_id", [f"c{row:07d}" for row in range(ROWS)])
    table["region"] = np.array(["north", "south", "west"])[
        (groups + rng.integers(2, size=ROWS)) % 3
    ]
    table["spend"] = np.exp(rng.normal(3, 1, ROWS) + groups)
    return table


@pytest.fixture(scope="module")
def parquet(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spark") / "customers.parquet"
    frame.to_parquet(path, row_group_size=20_000)
    return path


def config(engine: EngineConfig, data: DataConfig, **changes: Any) -> FitConfig:
    base = FitConfig(
        data=data,
        features=FeaturesConfig("auto"),
        scaling={"name": "standard"},
        k=KConfig(2, 8),
        choice={"name": "silhouette"},
        engine=engine,
        tracking=TrackingConfig(),
    )
    return dataclasses.replace(base, **changes)


def computed(asked: FitConfig) -> SegmentationResult:
    return compute(customers_of(asked), asked)


def table_of(spark: Any, path: Path | str, **options: Any) -> SparkCustomers:
    columns = options.pop("columns", None)
    missing = options.pop("missing", "error")
    table = read_table(spark, DataConfig("spark_table", path=str(path), **options))
    return SparkSampler(table, missing=missing, size=50_000, seed=0).customers(columns)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("Mall_Customers_Gender.csv", ["Annual Income (k$)", "Spending Score (1-100)"]),
        ("Wholesale customers data.csv", ["Fresh", "Milk", "Grocery", "Frozen", "Delicassen"]),
    ],
)
def test_a_small_file_gives_what_it_gives_in_memory(
    spark, shared_data: Path, name: str, columns: list[str]
) -> None:
    data = DataConfig("csv", path=str(shared_data / name))
    features = FeaturesConfig("auto", columns=columns)
    here = computed(config(EngineConfig("sklearn"), data, features=features))
    there = computed(config(ENGINE, data, features=features))
    assert there.k == here.k
    assert there.customers.digest == here.customers.digest
    for metric in ("wcss", "silhouette", "calinski_harabasz", "davies_bouldin"):
        np.testing.assert_allclose(there.curve[metric], here.curve[metric], rtol=1e-6)
    assert adjusted_rand_score(here.labels, there.labels) == 1.0


def test_a_table_gives_what_it_gives_in_memory(spark, parquet: Path) -> None:
    data = DataConfig("parquet", path=str(parquet))
    features = FeaturesConfig("auto", columns=NUMBERS)
    here = computed(config(EngineConfig("sklearn"), data, features=features))
    there = computed(config(ENGINE, data, features=features))
    assert len(there.labels) == 50_000
    assert there.customers.population == ROWS
    assert sum(segment.size for segment in there.segments) == ROWS
    np.testing.assert_allclose(there.curve["wcss"], here.curve["wcss"], rtol=1e-3)
    assert (there.curve["wcss"].diff().dropna() <= 0).all()
    assert there.k == here.k
    every = here.customers.frame
    assert adjusted_rand_score(here.pipeline.predict(every), there.pipeline.predict(every)) >= 0.99
    # Exact over all rows: what the centres say of all rows, computed here.
    Z = there.pipeline[:-1].transform(every)
    labels = there.pipeline.predict(every)
    chosen = there.curve.loc[there.k]
    own = there.pipeline[-1].cluster_centers_[labels]
    assert chosen["wcss"] == pytest.approx(((Z - own) ** 2).sum(), rel=1e-9)
    assert [s.size for s in there.segments] == np.bincount(labels).tolist()
    assert chosen["explained_variance"] == pytest.approx(
        1 - chosen["wcss"] / ((Z - Z.mean(axis=0)) ** 2).sum(), rel=1e-9
    )
    # Of a sample, with an error that covers what all rows say.
    exact = here.curve["silhouette"]
    close = (there.curve["silhouette"] - exact).abs() <= 4 * np.hypot(
        there.curve["silhouette_se"], here.curve["silhouette_se"]
    )
    assert close[exact.notna()].all()
    again = computed(config(ENGINE, data, features=features))
    assert again.curve.equals(there.curve)
    assert any("50,000 of the 120,000" in note for note in there.customers.notes)


def test_the_squared_silhouette_is_sparks(spark, frame: pd.DataFrame) -> None:
    from pyspark.ml.evaluation import ClusteringEvaluator
    from pyspark.ml.linalg import Vectors

    few = frame[NUMBERS[:3]].head(3000)
    Z = ((few - few.mean()) / few.std(ddof=0)).to_numpy()
    result = fit_rows(spark, few, Z)
    for k, clustering in result.items():
        if k == 1:
            assert clustering.silhouette_squared is None
            continue
        expected = silhouette_score(Z, clustering.labels, metric="sqeuclidean")
        assert clustering.silhouette_squared == pytest.approx(expected, rel=1e-9)
    labels = result[4].labels
    rows = [(Vectors.dense(z), int(label)) for z, label in zip(Z, labels, strict=True)]
    evaluated = ClusteringEvaluator().evaluate(
        spark.createDataFrame(rows, ["features", "prediction"])
    )
    assert result[4].silhouette_squared == pytest.approx(evaluated, rel=1e-9)


def fit_rows(spark: Any, frame: pd.DataFrame, Z: np.ndarray) -> dict[int, Any]:
    mean, std = frame.mean().to_numpy(), frame.std(ddof=0).to_numpy()
    rows = SparkRows.of(
        spark.createDataFrame(frame),
        lambda block: (block.to_numpy() - mean) / std,
        Z,
        len(Z),
        say=lambda line: None,
    )
    try:
        return ENGINES["spark"].fit_k_range(rows, range(1, 5), seed=0)
    finally:
        rows.release()


def test_executors_do_without_this_package(spark, frame: pd.DataFrame) -> None:
    few = frame[NUMBERS[:2]].head(500)
    fit_rows(spark, few, ((few - few.mean()) / few.std(ddof=0)).to_numpy())

    def imported(batches):
        import sys

        import pyarrow as pa

        for _ in batches:
            pass
        ours = [name for name in sys.modules if name.split(".")[0] == "segmentation"]
        yield pa.RecordBatch.from_pydict({"names": [",".join(ours)]})

    # The workers that have just run the passes are the ones that answer.
    rows = spark.range(4).mapInArrow(imported, "names string").collect()
    assert {row.names for row in rows} == {""}


@pytest.mark.parametrize("scaling", ["none", "standard", "minmax", "robust"])
def test_scalings_of_all_rows_are_scikit_learns(
    spark, parquet: Path, frame: pd.DataFrame, scaling: str
) -> None:
    columns = (*NUMBERS, "region", "spend")
    features = FeatureSet(columns=columns, log1p=("spend",), weights={"f1": 2.0})
    customers = table_of(spark, parquet, columns=columns)
    resolved = resolve(features, customers.sample)
    encoder, note = fit_encoder(customers, resolved, scaling)
    every = from_frame(frame, id="customer_id", columns=columns).frame
    stock = build_encoder(resolved, scaling, every).fit(every)
    assert encoder.get_feature_names_out().tolist() == stock.get_feature_names_out().tolist()
    given, wanted = encoder.transform(every.head(500)), stock.transform(every.head(500))
    # Quantiles are values that occur, of a rank at most 1e-6 of the rows off: not halfway between.
    np.testing.assert_allclose(given, wanted, atol=2e-3 if scaling == "robust" else 1e-9)
    assert (note is not None) == (scaling == "robust")


def test_a_scaling_without_sums_says_that_it_saw_the_sample(spark, parquet: Path) -> None:
    customers = table_of(spark, parquet, columns=NUMBERS)
    _, note = fit_encoder(customers, resolve(list(NUMBERS), customers.sample), "power")
    assert note is not None
    assert "sample" in note


def test_digest_and_sample_depend_on_the_rows_alone(
    spark, parquet: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    first = table_of(spark, parquet).sample
    other = tmp_path / "other"
    other.mkdir()
    turned = frame.sample(frac=1, random_state=1)
    for part in range(3):
        turned.iloc[part::3].to_parquet(other / f"{part}.parquet")
    again = table_of(spark, other).sample
    assert again.digest == first.digest
    assert again.ids.tolist() == first.ids.tolist()
    pd.testing.assert_frame_equal(again.frame, first.frame)
    changed = frame.copy()
    changed.loc[77_777, "f3"] += 1e-9
    changed.to_parquet(tmp_path / "changed.parquet")
    assert table_of(spark, tmp_path / "changed.parquet").sample.digest != first.digest


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.assign(f1=t.f1.where(t.index != 9)), {}, "missing values in f1 1"),
        (lambda t: t.assign(f1=t.f1.where(t.index != 9, np.inf)), {}, "column 'f1': infinite"),
        (lambda t: t, {"columns": ["f9"]}, "has no column 'f9'"),
        (lambda t: t.assign(f1=pd.Timestamp("2026-01-01")), {"columns": ["f1"]}, "has type"),
        (lambda t: t.assign(f1=None), {"columns": ["f1"]}, "has type void|is empty"),
        (lambda t: t.assign(f1="7"), {"columns": ["f1"]}, "text that reads as numbers"),
        (lambda t: t.assign(customer_id=t.customer_id.str[:-1]), {}, "are not unique"),
        (lambda t: t.assign(customer_id=t.customer_id.where(t.index != 3)), {}, "missing ids"),
        (lambda t: t.head(0), {}, "no customers"),
        (lambda t: t, {"id": "number"}, "has no column 'number'"),
    ],
)
def test_what_cannot_be_used_is_said(
    spark, frame: pd.DataFrame, tmp_path: Path, change, options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "table.parquet"
    change(frame.head(2000)).to_parquet(path)
    with pytest.raises(DataError, match=message):
        table_of(spark, path, **options)


def test_a_table_that_is_not_there(spark, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing"):
        table_of(spark, tmp_path / "nothing.parquet")


@pytest.mark.parametrize("source", ["parquet", "csv"])
def test_missing_values_are_dropped_or_filled(
    spark, frame: pd.DataFrame, tmp_path: Path, source: str
) -> None:
    table = frame.head(2001).assign(f1=lambda t: t.f1.where(t.index % 7 != 0))
    path = tmp_path / f"table.{source}"
    table.to_parquet(path) if source == "parquet" else table.to_csv(path, index=False)
    for missing in ("drop", "median"):
        there = table_of(spark, path, columns=NUMBERS, missing=missing).sample
        here = from_frame(table, columns=NUMBERS, missing=missing)
        assert there.population == len(here.ids)
        order = there.ids.argsort().to_numpy()
        pd.testing.assert_frame_equal(
            there.frame.iloc[order].reset_index(drop=True), here.frame, rtol=1e-3
        )
        assert any("missing values" in note for note in there.notes)


def test_promote_and_score_work_as_for_other_runs(
    spark, parquet: Path, frame: pd.DataFrame, tmp_path: Path, store_uri: str, capsys
) -> None:
    path = tmp_path / "customers.parquet"
    shutil.copy(parquet, path)
    call, tracking = Call(tmp_path, ()), TrackingConfig(uri=store_uri)
    features = FeaturesConfig("auto", columns=NUMBERS)
    asked = config(
        ENGINE,
        DataConfig("spark_table", path=str(path)),
        features=features,
        tracking=tracking,
        k=KConfig(2, 6),
    )
    fit_command.run(asked, call)
    store = open_store(store_uri, tracking.experiment)
    (run,) = store.client.search_runs([store.experiment_id])
    assert run.data.params["customers"] == str(ROWS)
    assert run.data.params["sample"] == "50000"
    assert run.data.metrics["silhouette_squared"] > run.data.metrics["silhouette"]
    asked_to = PromoteConfig(tracking=tracking, promotion=gates.rules(loads=False))
    frame.head(ROWS - 1).to_parquet(path)
    with pytest.raises(GateRefused, match="has changed since the run was made"):
        promote.run(asked_to, call)
    shutil.copy(parquet, path)
    promote.run(asked_to, call)
    told = capsys.readouterr().out
    assert "version 1 is champion now" in told
    assert "the customers were read again and have not changed" in told

    new = frame.head(5000).assign(f2=lambda t: t.f2.where(t.index != 4))
    new.to_parquet(tmp_path / "new.parquet")
    data = DataConfig("parquet", path=str(tmp_path / "new.parquet"))
    for engine, out in ((ENGINE, "spark.parquet"), (EngineConfig("sklearn"), "here.parquet")):
        score.run(ScoreConfig(data, tracking, engine, out=str(tmp_path / out)), call)
    told = capsys.readouterr().out
    assert "Not scored 1: f2 must be a finite number" in told
    there = pd.read_parquet(tmp_path / "spark.parquet").set_index("customer_id").sort_index()
    here = pd.read_parquet(tmp_path / "here.parquet").set_index("customer_id").sort_index()
    assert there.loc["c0000004"].segment is pd.NA or np.isnan(there.loc["c0000004"].segment)
    scored = there.drop(index="c0000004").drop(columns="reason")
    pd.testing.assert_frame_equal(scored, here, check_dtype=False)

    (code,) = Path(store_uri.removeprefix("sqlite:///")).parent.rglob("segment_model.py")
    with code.open("a", encoding="utf-8") as file:
        file.write("# changed")
    with pytest.raises(RegistryError, match=r"changed: segment_model\.py"):
        score.run(ScoreConfig(data, tracking, ENGINE, out=str(tmp_path / "more.parquet")), call)


def test_never_worse_than_mllib(spark, parquet: Path) -> None:
    from pyspark.ml.clustering import KMeans
    from pyspark.ml.feature import VectorAssembler

    data = DataConfig("parquet", path=str(parquet))
    features = FeaturesConfig("auto", columns=NUMBERS)
    ours = computed(config(ENGINE, data, features=features, k=KConfig(6, 6)))
    scale = ours.pipeline[0]
    columns = [f"(`{n}` - {m}) / {s} AS `{n}`" for n, m, s in _scaled(scale)]
    table = spark.read.parquet(str(parquet)).selectExpr(*columns)
    rows = VectorAssembler(inputCols=NUMBERS, outputCol="features").transform(table).coalesce(2)
    rows = rows.persist()
    best = min(KMeans(k=6, seed=seed).fit(rows).summary.trainingCost for seed in range(5))
    rows.unpersist()
    assert ours.curve["wcss"][6] <= best * (1 + 1e-6)


def _scaled(encoder: Any) -> list[tuple[str, float, float]]:
    (_, scaler, names), *_ = encoder.transformers_
    return list(zip(names, scaler.mean_, scaler.scale_, strict=True))
