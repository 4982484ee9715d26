"""The cost of a fully logged run and of a sweep of 24, compared with the obvious script.

The obvious script uses scikit-learn with ``n_init=10`` for each k, ``silhouette_score``, one call
per metric, pyplot figures, and ``log_model`` with an input example and inferred requirements.

    python benchmarks/run_cost.py [--file Mall_Customers.csv] [--runs 5] [--pairs 3]

Both sides run alternately, so that other load on the machine affects both. Ratios are computed
within each pair, and their median is shown. CPU seconds include child processes (MLflow infers
requirements in one, sweeps fork). A sweep is measured twice: in a warm process, where both sides
have imported everything they use, and as a whole command from start to end. Without a file,
generated customers of the same shape are used. ``--smoke`` runs one configuration once, and only
the first and the last side of the sweeps.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# The same setting as the command's, for both sides: here NumPy is loaded before the command.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")

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

from segmentation.cli import main as cli
from segmentation.config import (
    DataConfig,
    EngineConfig,
    FeaturesConfig,
    FitConfig,
    KConfig,
    TrackingConfig,
)
from segmentation.data.demo import generate_customers
from segmentation.experiments.read import customers_of
from segmentation.experiments.run import compute, log
from segmentation.tracking.store import Store, open_store
from segmentation.visualization import _fast_text

COLUMNS = ["annual_income", "spending_score"]
Grid = tuple[list[str], list[str]]
Cost = tuple[float, float]


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


def obvious_sweep(path: Path, uri: str, grid: Grid) -> None:
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("obvious")
    for features in grid[0]:
        for scaling in grid[1]:
            obvious(path, features, scaling)


def our_sweep(path: Path, uri: str, grid: Grid, *options: str) -> None:
    arguments = our_arguments(path, uri, grid, *options)
    # A first sweep has no cached text from another one.
    _fast_text._text.cache_clear()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert cli.run(arguments) == 0


def our_arguments(path: Path, uri: str, grid: Grid, *options: str) -> list[str]:
    """Return the arguments of a sweep in a new experiment; `force` would rerun the same one."""
    sweep = [f"features={','.join(grid[0])}", f"scaling={','.join(grid[1])}", "k.min=2"]
    store = [f"tracking.uri={uri}", f"tracking.experiment=sweep{time.time_ns()}"]
    return ["fit", "-m", "data=mall", f"data.path='{path}'", *sweep, *store, *options]


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
    customers = customers_of(config)
    log(compute(customers, config), customers, store, config, command="benchmark")


RENAME = {
    "CustomerID": "customer_id",
    "Annual Income (k$)": "annual_income",
    "Spending Score (1-100)": "spending_score",
}


def cpu(action: Callable[[], None], runs: int) -> list[float]:
    """Return the CPU seconds of each run, after a first run that warms up caches and imports."""
    action()
    seconds = []
    for _ in range(runs):
        start = spent()
        action()
        seconds.append(spent() - start)
    return seconds


def cost(action: Callable[[], None]) -> Cost:
    """Return the CPU and wall seconds of one call."""
    start, clock = spent(), time.perf_counter()
    action()
    return spent() - start, time.perf_counter() - clock


def command(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def spent() -> float:
    """Return the CPU seconds so far, including finished child processes (MLflow infers in one)."""
    return sum(os.times()[:4])


def runs(path: Path, uri: str, number: int) -> None:
    store = open_store(uri, "benchmark")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("benchmark")
    table = {
        "obvious script, k=2..12": cpu(lambda: obvious(path), number),
        "segment fit, choice=silhouette": cpu(lambda: ours(path, store, "silhouette"), number),
        "segment fit, choice=evidence": cpu(lambda: ours(path, store, "evidence"), number),
    }
    base = statistics.median(table["obvious script, k=2..12"])
    print(f"{'one logged run':34s} {'CPU s, median':>14s} {'worst':>8s} {'ratio':>7s}")
    for name, seconds in table.items():
        median = statistics.median(seconds)
        print(f"{name:34s} {median:14.2f} {max(seconds):8.2f} {base / median:6.1f}x")


def sweeps(path: Path, uri: str, grid: Grid, pairs: int, *, ends_alone: bool = False) -> None:
    def one(*options: str) -> Callable[[], None]:
        return lambda: our_sweep(path, uri, grid, *options)

    def whole(*options: str) -> Callable[[], None]:
        return lambda: command("-m", "segmentation", *our_arguments(path, uri, grid, *options))

    script = ["--file", str(path), "--obvious", uri, ",".join(grid[0]), ",".join(grid[1])]
    off, alone, two = (
        "choice=silhouette",
        "hydra.launcher.processes=1",
        "hydra.launcher.processes=2",
    )
    sides: dict[str, dict[str, Callable[[], None]]] = {
        "warm process": {
            "obvious script": lambda: obvious_sweep(path, uri, grid),
            "segment, evidence off, 1 process": one(off, alone),
            "segment, evidence off, 2 processes": one(off, two),
            "segment, evidence on, 1 process": one(alone),
            "segment, evidence on, 2 processes": one(two),
        },
        "whole command": {
            "obvious script": lambda: command(__file__, *script),
            "segment, evidence off, 1 process": whole(off, alone),
            "segment, evidence off, 2 processes": whole(off, two),
            "segment, evidence on, 2 processes": whole(two),
        },
    }
    size = len(grid[0]) * len(grid[1])
    for where, actions in sides.items():
        if ends_alone:
            first, *_, last = actions
            actions = {name: actions[name] for name in (first, last)}
        measured: dict[str, list[Cost]] = {name: [] for name in actions}
        for _ in range(pairs):
            for name, action in actions.items():
                measured[name].append(cost(action))
        print(f"\n{f'sweep of {size}, {where}':36s} {'CPU s':>8s} {'ratio':>14s}", end="")
        print(f" {'wall s':>8s} {'ratio':>14s}")
        for name, costs in measured.items():
            line = f"{name:36s}"
            for kind in (0, 1):
                base = [each[kind] for each in measured["obvious script"]]
                own = [each[kind] for each in costs]
                ratios = [a / b for a, b in zip(base, own, strict=True)]
                shown = f"{statistics.median(ratios):.1f}x (≥ {min(ratios):.1f})"
                line += f" {statistics.median(own):8.1f} {shown:>14s}"
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, help="a mall customers file")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one configuration, fewer sides")
    parser.add_argument("--obvious", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.obvious:
        uri, features, scalings = arguments.obvious
        obvious_sweep(arguments.file, uri, (features.split(","), scalings.split(",")))
        return
    grid: Grid = (list(FEATURES), list(SCALERS))
    if arguments.smoke:
        grid, arguments.runs, arguments.pairs = (["income_spending"], ["standard"]), 1, 1
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file or Path(folder, "customers.csv")
        if arguments.file is None:
            generate_customers().to_csv(path, index=False)
        uri = f"sqlite:///{folder}/mlflow.db"
        runs(path, uri, arguments.runs)
        sweeps(path, uri, grid, arguments.pairs, ends_alone=arguments.smoke)


if __name__ == "__main__":
    main()
