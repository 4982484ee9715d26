"""`segment score` on large files: rows per second and peak memory, compared with plain `predict`.

    python benchmarks/score.py            1e6 rows x 8 features
    python benchmarks/score.py 10000000   1e7 rows, takes minutes and 1.5 GB of disk

Each measurement runs in its own process; memory is its peak (ru_maxrss). Plain `predict` reads the
file with pandas and calls the scikit-learn pipeline, as one would write by hand, without checks,
distances, second segments or an output file.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

FEATURES = [f"f{index}" for index in range(8)]
CHUNK = 500_000
LIMIT_MIB = 1024


def write_customers(path: Path, n: int) -> None:
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(0)
    centers = rng.normal(0, 50, (6, len(FEATURES)))
    with path.open("wb") as file:
        for start in range(0, n, CHUNK):
            rows = min(CHUNK, n - start)
            values = centers[rng.integers(0, 6, rows)] + rng.normal(0, 10, (rows, len(FEATURES)))
            ids = pa.array([f"{row:09d}" for row in range(start, start + rows)])
            columns = [pa.array(column) for column in np.round(values, 2).T]
            table = pa.table([ids, *columns], names=["id", *FEATURES])
            options = pa.csv.WriteOptions(include_header=start == 0, quoting_header="none")
            pa.csv.write_csv(table, file, options)


def save_model(path: Path, folder: Path) -> None:
    import pandas as pd

    from segmentation import segment
    from segmentation.model import flavor
    from segmentation.tracking import run_logger

    frame = pd.read_csv(path, nrows=20_000)
    result = segment(frame[FEATURES], choice="fixed", k=6, k_min=6, k_max=6, effort="fast")
    flavor.save(run_logger.portable_model(result), folder)


def score(path: str, folder: str, out: str, store: str) -> None:
    from segmentation.cli import main as cli

    code = cli.run(
        ["score", f"data.path={path}", f"model={folder}", f"out={out}", f"tracking.uri={store}"]
    )
    assert code == 0


def predict(path: str, folder: str, out: str, store: str) -> None:
    import mlflow.sklearn
    import pandas as pd

    pipeline = mlflow.sklearn.load_model(folder)
    frame = pd.read_csv(path)
    started = time.perf_counter()
    pipeline.predict(frame[FEATURES])
    print(f"predict alone: {time.perf_counter() - started:.1f} s")


def measure(task: str, *arguments: str) -> tuple[float, float, str]:
    """Run a task in its own process; return its seconds, peak MiB and last lines of output."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, task, *arguments], check=True, capture_output=True, text=True
    )
    seconds = time.perf_counter() - started
    *lines, peak = done.stdout.strip().splitlines()
    return seconds, float(peak), "\n".join(lines[-3:])


def main(n: int) -> None:
    from segmentation.tracking.store import open_store

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, model = folder / "customers.csv", folder / "model"
        write_customers(path, n)
        save_model(path, model)
        store = f"sqlite:///{folder}/mlflow.db"
        open_store(store, "unused")  # creating its tables takes seconds, once
        size = path.stat().st_size / 2**20
        print(f"{n:,} rows x {len(FEATURES)} features, {size:,.0f} MiB of CSV")
        print(f"{'':18}{'seconds':>9}{'rows/s':>12}{'peak MiB':>10}")
        for task in ("score", "predict"):
            arguments = (str(path), str(model), str(folder / "out.csv"))
            seconds, peak, said = measure(task, *arguments, store)
            print(f"{task:18}{seconds:9.1f}{n / seconds:12,.0f}{peak:10,.0f}")
            print("    " + said.replace(name, "…").replace("\n", "\n    "))
            if task == "score" and peak > LIMIT_MIB:
                raise SystemExit(f"score used more than {LIMIT_MIB} MiB")


if __name__ == "__main__":
    if sys.argv[1:2] in (["score"], ["predict"]):
        {"score": score, "predict": predict}[sys.argv[1]](*sys.argv[2:])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main(int(float(sys.argv[1])) if len(sys.argv) > 1 else 1_000_000)
