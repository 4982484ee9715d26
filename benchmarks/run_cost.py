"""What a fully logged run, and a sweep of 24, cost beside the obvious script.

The obvious script: scikit-learn ``n_init=10`` for each k, ``silhouette_score``, a metric a call,
pyplot figures, ``log_model`` with an input example and inferred requirements.

    python benchmarks/run_cost.py [--file Mall_Customers.csv] [--runs 5]

CPU seconds of a warm process and its children (MLflow infers requirements in one); the sweep also
in wall seconds, with two processes. Without a file it uses generated customers of the same shape.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
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
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from segmentation import cli
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

PARALLEL = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
COLUMNS = ["annual_income", "spending_score"]


FEATURES = {
    "income_spending": [3, 4],
    "age_spending": [2, 4],
    "age_income_spending": [2, 3, 4],
    "all": [1, 2, 3, 4],
}
SCALERS = {
    "none": FunctionTransformer(),
    "standard": StandardScaler(),
    "minmax": MinMaxScaler(),
    "robust": RobustScaler(),
    "power": PowerTransformer(),
    "quantile": QuantileTransformer(n_quantiles=200),
}


def obvious(path: Path, features: str = "income_spending", scaling: str = "none") -> None:
    frame = pd.read_csv(path)
    columns = frame.iloc[:, FEATURES[features]]
    Z = SCALERS[scaling].fit_transform(pd.get_dummies(columns).to_numpy(dtype=float))
    with mlflow.start_run():
        wcss, silhouettes, models = [], [], {}
        for k in range(2, 13):
            models[k] = KMeans(k, n_init=10, random_state=0).fit(Z)
            wcss.append(models[k].inertia_)
            silhouettes.append(silhouette_score(Z, models[k].labels_))
            mlflow.log_metric("wcss", wcss[-1], step=k)
            mlflow.log_metric("silhouette", silhouettes[-1], step=k)
        best = models[2 + int(np.argmax(silhouettes))]
        mlflow.log_params({"k": best.n_clusters, "features": features, "scaling": scaling})
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


def obvious_sweep(path: Path) -> None:
    for features in FEATURES:
        for scaling in SCALERS:
            obvious(path, features, scaling)


def our_sweep(path: Path, uri: str, *options: str) -> None:
    """A new study each time: `force` would be a rerun of the same."""
    grid = [f"features={','.join(FEATURES)}", f"scaling={','.join(SCALERS)}", "k.min=2"]
    store = [f"tracking.uri={uri}", f"tracking.experiment=sweep{time.time_ns()}"]
    arguments = ["fit", "-m", "data=mall", f"data.path='{path}'", *grid, *store, *options]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert cli.run(arguments) == 0


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


def cost(action: Callable[[], None]) -> tuple[float, float]:
    """CPU and wall seconds of one go."""
    start, clock = spent(), time.perf_counter()
    action()
    return spent() - start, time.perf_counter() - clock


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
        sweeps = {
            "obvious script": lambda: obvious_sweep(path),
            "segment, evidence off": lambda: our_sweep(path, uri, "choice=silhouette"),
            "segment, evidence off, 2 processes": lambda: our_sweep(
                path, uri, "choice=silhouette", *PARALLEL
            ),
            "segment, evidence on, 2 processes": lambda: our_sweep(path, uri, *PARALLEL),
        }
        measured = {name: cost(sweep) for name, sweep in sweeps.items()}
    base = statistics.median(table["obvious script, k=2..12"])
    print(f"{'one logged run':34s} {'CPU s, median':>14s} {'worst':>8s} {'ratio':>7s}")
    for name, seconds in table.items():
        median = statistics.median(seconds)
        print(f"{name:34s} {median:14.2f} {max(seconds):8.2f} {base / median:6.1f}x")
    print()
    print(
        f"{'sweep of 24, all logged':36s} {'CPU s':>8s} {'ratio':>7s} {'wall s':>8s} {'ratio':>7s}"
    )
    cpu_base, wall_base = measured["obvious script"]
    for name, (cpu_seconds, wall) in measured.items():
        ratios = f"{cpu_base / cpu_seconds:6.1f}x {wall:8.1f} {wall_base / wall:6.1f}x"
        print(f"{name:36s} {cpu_seconds:8.1f} {ratios}")


if __name__ == "__main__":
    main()
