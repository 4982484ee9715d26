"""What one fully logged run costs beside the obvious script: CPU seconds in one warm process.

The obvious script: scikit-learn ``n_init=10`` for each k, ``silhouette_score``, a metric a call,
pyplot figures, ``log_model`` with an input example and inferred requirements.

    python benchmarks/run_cost.py [--file Mall_Customers.csv] [--runs 5]

Without a file it uses generated customers of the same shape.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import matplotlib

matplotlib.use("Agg")
import mlflow
import numpy as np
import pandas as pd
from matplotlib import pyplot
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from segmentation.config import (
    DataConfig,
    EngineConfig,
    FeaturesConfig,
    FitConfig,
    KConfig,
    TrackingConfig,
)
from segmentation.demo import generate_customers
from segmentation.fit import compute, log
from segmentation.store import Store, open_store

COLUMNS = ["annual_income", "spending_score"]


def obvious(path: Path) -> None:
    frame = pd.read_csv(path)
    Z = frame.iloc[:, [3, 4]].to_numpy(dtype=float)
    with mlflow.start_run():
        wcss, silhouettes, models = [], [], {}
        for k in range(2, 13):
            models[k] = KMeans(k, n_init=10, random_state=0).fit(Z)
            wcss.append(models[k].inertia_)
            silhouettes.append(silhouette_score(Z, models[k].labels_))
            mlflow.log_metric("wcss", wcss[-1], step=k)
            mlflow.log_metric("silhouette", silhouettes[-1], step=k)
        best = models[2 + int(np.argmax(silhouettes))]
        mlflow.log_params({"k": best.n_clusters, "scaling": "none"})
        for name, values in {"elbow": wcss, "silhouette": silhouettes}.items():
            figure, axes = pyplot.subplots()
            axes.plot(range(2, 13), values)
            mlflow.log_figure(figure, f"{name}.png")
            pyplot.close(figure)
        figure, axes = pyplot.subplots()
        axes.scatter(Z[:, 0], Z[:, 1], c=best.labels_)
        mlflow.log_figure(figure, "segments.png")
        pyplot.close(figure)
        mlflow.sklearn.log_model(best, name="model", input_example=Z[:5])


def ours(path: Path, store: Store, choice: str) -> None:
    config = FitConfig(
        data=DataConfig(source="csv", path=str(path), rename=RENAME, id="customer_id"),
        features=FeaturesConfig(name="income_spending", columns=COLUMNS),
        scaling={"name": "none"},
        k=KConfig(),
        choice={"name": choice},
        engine=EngineConfig(name="sklearn"),
        tracking=TrackingConfig(),
    )
    log(compute(config), store, config, command="benchmark")


RENAME = {
    "CustomerID": "customer_id",
    "Annual Income (k$)": "annual_income",
    "Spending Score (1-100)": "spending_score",
}


def cpu(action: Callable[[], None], runs: int) -> list[float]:
    """CPU seconds of each run after a first one that warms caches and imports up."""
    action()
    seconds = []
    for _ in range(runs):
        start = spent()
        action()
        seconds.append(spent() - start)
    return seconds


def spent() -> float:
    """CPU seconds so far, those of ended child processes included: MLflow infers in one."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, help="a mall customers file")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file or Path(folder, "customers.csv")
        if arguments.file is None:
            generate_customers().to_csv(path, index=False)
        uri = f"sqlite:///{folder}/mlflow.db"
        store = open_store(uri, "benchmark")
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment("benchmark")
        table = {
            "obvious script, k=2..12": cpu(lambda: obvious(path), arguments.runs),
            "segment fit, choice=silhouette": cpu(
                lambda: ours(path, store, "silhouette"), arguments.runs
            ),
            "segment fit, choice=evidence": cpu(
                lambda: ours(path, store, "evidence"), arguments.runs
            ),
        }
    base = statistics.median(table["obvious script, k=2..12"])
    print(f"{'one logged run':34s} {'CPU s, median':>14s} {'worst':>8s} {'ratio':>7s}")
    for name, seconds in table.items():
        median = statistics.median(seconds)
        print(f"{name:34s} {median:14.2f} {max(seconds):8.2f} {base / median:6.1f}x")


if __name__ == "__main__":
    main()
