"""The registered model scores a Spark table, as `mlflow.pyfunc.spark_udf`."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from segmentation import log_result, segment
from segmentation.data.demo import generate_customers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java"),
]

#: In a process of its own: the JVM ends with it, and nothing of this project is on its path.
SCORE = """
import sys, os
os.environ["SPARK_LOCAL_IP"], os.environ["PYSPARK_PYTHON"] = "127.0.0.1", sys.executable
import mlflow, pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct
uri, store, table, out = sys.argv[1:]
mlflow.set_tracking_uri(store)
spark = (
    SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    .config("spark.sql.warehouse.dir", out + ".warehouse").getOrCreate()
)
frame = spark.createDataFrame(pd.read_csv(table))
kind = "segment long, segment_name string, distance double"
score = mlflow.pyfunc.spark_udf(spark, uri, result_type=kind, env_manager="local")
columns = ["annual_income", "spending_score"]
rows = frame.select("customer_id", score(struct(*columns)).alias("s")).select("customer_id", "s.*")
rows.toPandas().to_csv(out, index=False)
spark.stop()
"""


def test_spark_gives_the_same_segments(store_uri: str, tmp_path) -> None:
    pytest.importorskip("pyspark", reason="install the spark extra")
    import pandas as pd

    customers = generate_customers(500, seed=3)
    result = segment(customers, features=["annual_income", "spending_score"], choice="silhouette")
    logged = log_result(result, uri=store_uri)
    table, out = tmp_path / "customers.csv", tmp_path / "scored.csv"
    customers.to_csv(table, index=False)
    done = subprocess.run(
        [sys.executable, "-I", "-c", SCORE, logged.model_uri, store_uri, str(table), str(out)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    scored = pd.read_csv(out)
    assert scored.segment.tolist() == result.labels.tolist()
    assert set(scored.segment_name) == {s.name for s in result.segments}
