"""`segment fit engine=spark` compared with MLlib's K-Means, on the same machine in one run.

    python benchmarks/spark.py            1e7 rows x 8, k = 2..10, local[2]; minutes, 1 GB of disk
    python benchmarks/spark.py 1000000    fewer rows

The whole command (start, read, search, passes, evidence, figures, report, logged model) for nine k
is compared with a script that reads, scales and fits MLlib's KMeans for k = 2 and k = 5 only. Each
runs in its own process; memory is the peak of the Python driver, the JVM and one of its Python
workers. Then, on 300,000 rows, WCSS is compared with the best of five seeds of MLlib, and the cost
of one step from MLlib's `initialModel` with one of our passes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

FEATURES = [f"f{index}" for index in range(8)]
SMALL = 300_000
CHUNK = 500_000
LIMIT_MIB = 2048
COMPARED = (2, 5, 8)


def write_customers(path: Path, n: int) -> None:
    """Write a file of seven skewed, overlapping groups."""
    rng = np.random.default_rng(0)
    d = len(FEATURES)
    centers, spread = rng.normal(0, 3, (7, d)), rng.uniform(0.5, 1.5, (7, d))
    shares, units = rng.dirichlet(np.full(7, 4)), np.array([1, 10, 100, 1, 5, 1000, 2, 1])
    names = ["customer_id", *FEATURES]
    schema = pa.schema([("customer_id", pa.int64()), *((f, pa.float64()) for f in FEATURES)])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, CHUNK):
            m = min(CHUNK, n - start)
            own = rng.choice(7, m, p=shares)
            X = (centers[own] + spread[own] * rng.gamma(4, 0.5, (m, d))) * units + 50
            ids = pa.array(np.arange(start, start + m))
            writer.write_table(pa.table([ids, *map(pa.array, X.T)], names=names))


def assembled(path: str):
    """Return the session and the scaled, persisted rows in the form that MLlib needs."""
    from pyspark.ml.feature import StandardScaler, VectorAssembler
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    spark = builder.config("spark.driver.memory", "6g").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    table = VectorAssembler(inputCols=FEATURES, outputCol="raw").transform(spark.read.parquet(path))
    scaler = StandardScaler(inputCol="raw", outputCol="features", withMean=True, withStd=True)
    rows = scaler.fit(table).transform(table).select("features").persist()
    rows.count()
    return spark, rows


def mllib(path: str) -> None:
    from pyspark.ml.clustering import KMeans

    spark, rows = assembled(path)
    for k in (2, 5):
        started = time.perf_counter()
        KMeans(k=k, seed=0).fit(rows)
        print(f"fit {time.perf_counter() - started:.1f}")
    spark.stop()


def quality(path: str) -> None:
    from pyspark.ml.clustering import KMeans
    from pyspark.mllib.clustering import KMeans as OldKMeans
    from pyspark.mllib.clustering import KMeansModel
    from pyspark.mllib.linalg import Vectors

    from segmentation.config import (
        DataConfig,
        EngineConfig,
        FeaturesConfig,
        FitConfig,
        KConfig,
        TrackingConfig,
    )
    from segmentation.experiments.read import customers_of
    from segmentation.experiments.run import compute
    from segmentation.spark import session

    lines: list[str] = []
    config = FitConfig(
        data=DataConfig("parquet", path=path),
        features=FeaturesConfig("auto"),
        scaling={"name": "standard"},
        k=KConfig(2, 10),
        choice={"name": "silhouette"},
        engine=EngineConfig("spark", master="local[2]"),
        tracking=TrackingConfig(),
    )
    result = compute(customers_of(config, lines.append), config, lines.append)
    session.close()
    spark, rows = assembled(path)
    # Their StandardScaler divides by the sample standard deviation, ours by the population's.
    factor = SMALL / (SMALL - 1)
    for k in COMPARED:
        costs = [KMeans(k=k, seed=seed).fit(rows).summary.trainingCost for seed in range(5)]
        ours = result.curve["wcss"][k]
        best, worst = min(costs) * factor, max(costs) * factor
        print(
            f"k={k}: ours {ours:,.1f}, MLlib's best of 5 {1e6 * (best / ours - 1):+,.1f} ppm, "
            f"worst {100 * (worst / ours - 1):+.2f} %"
        )
    vectors = rows.rdd.map(lambda row: Vectors.dense(row.features.toArray())).persist()
    vectors.count()
    k = max(COMPARED)
    first = KMeansModel([list(c) for c in result.clusterings[k].centers])
    for _ in range(2):
        started = time.perf_counter()
        OldKMeans.train(vectors, k, maxIterations=1, initialModel=first)
        took = time.perf_counter() - started
    print(f"one step from MLlib's initialModel, for k={k} only: {took:.1f} s")
    print(f"one pass of ours: {[line.strip() for line in lines if 'pass over' in line][1]}")
    spark.stop()


def segment(path: str, store: str) -> None:
    from segmentation.cli import main as cli

    given = ["engine=spark", "engine.master=local[2]", "data=parquet", f"data.path={path}"]
    assert cli.run(["fit", *given, "k.min=2", "k.max=10", f"tracking.uri={store}"]) == 0


def measure(task: str, *arguments: str) -> tuple[float, dict[str, float], str]:
    """Run a task in its own process; return seconds, peak MiB of each process kind and output."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, task, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    peak = {"driver": 0.0, "JVM": 0.0, "worker": 0.0}

    def watch() -> None:
        parent = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                for one in (parent, *parent.children(recursive=True)):
                    java = "java" in one.name()
                    name = "driver" if one is parent else "JVM" if java else "worker"
                    peak[name] = max(peak[name], one.memory_info().rss / 2**20)
            except psutil.Error:
                pass
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{task} failed")
    return time.perf_counter() - started, peak, out


def main(n: int) -> None:
    from segmentation.tracking.store import open_store

    if shutil.which("java") is None:
        raise SystemExit("Spark needs Java")
    with tempfile.TemporaryDirectory() as name:
        path, few = f"{name}/customers.parquet", f"{name}/few.parquet"
        write_customers(Path(path), n)
        write_customers(Path(few), SMALL)
        store = f"sqlite:///{name}/mlflow.db"
        open_store(store, "unused")
        print(f"{n:,} rows x {len(FEATURES)}, local[2]")
        print(f"{'':44}{'seconds':>9}{'driver MiB':>12}{'JVM MiB':>9}{'worker MiB':>12}")
        ours, peak, _ = measure("segment", path, store)
        memory = "".join(
            f"{peak[p]:{w},.0f}" for p, w in (("driver", 12), ("JVM", 9), ("worker", 12))
        )
        print(f"{'segment fit engine=spark, k=2..10, in total':44}{ours:9.1f}{memory}")
        driver = peak["driver"]
        theirs, peak, said = measure("mllib", path)
        memory = "".join(
            f"{peak[p]:{w},.0f}" for p, w in (("driver", 12), ("JVM", 9), ("worker", 12))
        )
        fits = [float(line.split()[1]) for line in said.splitlines() if line.startswith("fit ")]
        print(f"{'MLlib, read + scale + k=2 + k=5':44}{theirs:9.1f}{memory}")
        print(f"{'  of which the two fits':44}{sum(fits):9.1f}   ({fits[0]:.1f} + {fits[1]:.1f})")
        if driver > LIMIT_MIB:
            raise SystemExit(f"the driver used more than {LIMIT_MIB} MiB")
        print(f"\nWCSS on {SMALL:,} rows")
        print(measure("quality", few)[2].strip())


TASKS = {"segment": segment, "mllib": mllib, "quality": quality}

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in TASKS:
        TASKS[sys.argv[1]](*sys.argv[2:])
    else:
        main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000)
