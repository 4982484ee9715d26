"""How often does a search reach the best known WCSS? scikit-learn's restarts and the engine.

    python benchmarks/quality_wcss.py            # about a minute
    python benchmarks/quality_wcss.py --quick    # two seeds, without n_init=200
    python benchmarks/quality_wcss.py --families held-out   # 2,500 to 20,000 rows, some minutes

For each data set and k, `reference_wcss.json` holds a published value or the best value known when
the table was made. Hits and gaps are relative to it; lower values are printed as findings. The
mall, wholesale and ruspini files are read from SEGMENT_TEST_DATA (default: ../shared/data).

The best known value of a generated set is the best that any method of this run found.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, load_wine
from threadpoolctl import threadpool_limits

from segmentation.clustering import ENGINES
from wcss_families import HELD_OUT_CELLS, TUNED_CELLS, draw

HERE = Path(__file__).resolve().parent
Table = dict[str, dict[int, float]]
Fit = Callable[[NDArray[np.float64], list[int], int], dict[int, float]]


def load_reference() -> Table:
    table = json.loads((HERE / "reference_wcss.json").read_text())
    return {name: {int(k): v for k, v in row.items()} for name, row in table.items()}


def load_sets() -> dict[str, NDArray[np.float64]]:
    """Load every data set of the table; skip those whose file is missing, with a message."""
    folder = Path(os.environ.get("SEGMENT_TEST_DATA", HERE.parent.parent / "shared" / "data"))
    sets = {"iris": load_iris().data, "wine": load_wine().data}
    ruspini = folder / "known_k" / "ruspini.txt"
    mall = folder / "Mall_Customers_Genre.csv"
    wholesale = folder / "Wholesale customers data.csv"
    if ruspini.exists():
        sets["ruspini"] = np.loadtxt(ruspini)[:, :2]
    if mall.exists():
        columns = pd.read_csv(mall).iloc[:, 2:5].to_numpy(float)
        sets["mall income x score, raw"] = columns[:, 1:]
        sets["mall income x score, standardised"] = standardised(columns[:, 1:])
        sets["mall age+income+score, standardised"] = standardised(columns)
    if wholesale.exists():
        sets["wholesale, six raw spends"] = pd.read_csv(wholesale).iloc[:, 2:].to_numpy(float)
    for name in load_reference():
        if name not in sets:
            print(f"skipped: {name} (file not found in {folder}; set SEGMENT_TEST_DATA)")
    return sets


def standardised(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return (columns - columns.mean(axis=0)) / columns.std(axis=0)


def restarts(n_init: int | str) -> Fit:
    def fit(Z: NDArray[np.float64], ks: list[int], seed: int) -> dict[int, float]:
        return {k: float(KMeans(k, n_init=n_init, random_state=seed).fit(Z).inertia_) for k in ks}

    return fit


def engine(effort: str) -> Fit:
    def fit(Z: NDArray[np.float64], ks: list[int], seed: int) -> dict[int, float]:
        fitted = ENGINES["sklearn"].with_options(effort=effort).fit_k_range(Z, ks, seed=seed)
        return {k: clustering.wcss for k, clustering in fitted.items()}

    return fit


def measure(name: str, fit: Fit, sets: dict[str, NDArray[np.float64]], seeds: int) -> Table:
    """Run one method on every cell, print its line and return the best value found for each."""
    reference = load_reference()
    best: Table = {}
    gaps: list[float] = []
    began = time.process_time()
    for data, Z in sets.items():
        ks = sorted(reference[data])
        for seed in range(seeds):
            for k, wcss in fit(Z, ks, seed).items():
                gaps.append(wcss / reference[data][k] - 1)
                row = best.setdefault(data, {})
                row[k] = min(wcss, row.get(k, np.inf))
    cpu = time.process_time() - began
    gap = np.array(gaps)
    print(
        f"{name:<18} {len(gap):>5} {np.mean(gap <= 1e-6):>8.1%} {gap.mean():>9.4%} "
        f"{gap.max():>9.4%} {cpu:>8.2f}",
        flush=True,
    )
    return best


def families(name: str, rows: float) -> None:
    """Print how often each method reaches the best WCSS that any of them found, k = 2..12."""
    cells = [c for c in (HELD_OUT_CELLS if name == "held-out" else TUNED_CELLS) if c[1] <= rows]
    methods: dict[str, tuple[Fit, int]] = {
        "n_init=10": (restarts(10), 0),
        "n_init=200": (restarts(200), 0),
        "segment fast": (engine("fast"), 0),
        "segment default": (engine("default"), 0),
        "another seed": (engine("default"), 1),
    }
    found: dict[str, dict[tuple[Any, ...], float]] = {}
    spent: dict[str, dict[Any, float]] = {}
    for method, (fit, seed) in methods.items():
        found[method], spent[method] = {}, {}
        for cell in cells:
            Z, began = draw(*cell), time.process_time()
            fitted = fit(Z, list(range(2, 13)), seed)
            spent[method][cell] = time.process_time() - began
            found[method] |= {(*cell, k): wcss for k, wcss in fitted.items()}
    best = {key: min(each[key] for each in found.values()) for key in found["n_init=10"]}
    print(f"{'method':<18} {'cells':>5} {'hits':>8} {'mean ppm':>9} {'max ppm':>9} {'CPU s':>8}")
    for method, each in found.items():
        gap = np.array([each[key] / best[key] - 1 for key in best]) * 1e6
        cpu = sum(spent[method].values())
        hits = f"{np.mean(gap <= 1):>8.1%}"
        print(f"{method:<18} {len(gap):>5} {hits} {gap.mean():>9.1f} {gap.max():>9.1f} {cpu:>8.1f}")
    for cell in cells:
        share = spent["segment default"][cell] / spent["n_init=200"][cell]
        print(f"{cell}: CPU {share:.2f} of n_init=200's")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Hit rate against the best known WCSS.")
    parser.add_argument("--quick", action="store_true", help="two seeds, without n_init=200")
    parser.add_argument("--families", choices=["tuned", "held-out"], help="generated data instead")
    parser.add_argument("--rows", type=float, default=math.inf, help="leave out larger sets")
    args = parser.parse_args(arguments)
    quick = args.quick
    if args.families:
        with threadpool_limits(1):
            families(args.families, args.rows)
        return
    methods: dict[str, Fit] = {"n_init=auto": restarts("auto"), "n_init=10": restarts(10)}
    if not quick:
        methods["n_init=200"] = restarts(200)
    methods |= {f"segment {e}": engine(e) for e in ("fast", "default", "thorough")}
    sets = load_sets()
    seeds = 2 if quick else 5
    print(f"{'method':<18} {'cells':>5} {'hits':>8} {'mean gap':>9} {'max gap':>9} {'CPU s':>8}")
    found: Table = {}
    with threadpool_limits(1):  # at these sizes, several threads cost several times the CPU
        for name, fit in methods.items():
            for data, row in measure(name, fit, sets, seeds).items():
                for k, wcss in row.items():
                    mine = found.setdefault(data, {})
                    mine[k] = min(wcss, mine.get(k, np.inf))
    for data, row in load_reference().items():
        for k, known in row.items():
            if found.get(data, {}).get(k, np.inf) < known * (1 - 1e-8):
                print(f"finding: {data}, k={k}: {found[data][k]:.10g} is below {known:.10g}")


if __name__ == "__main__":
    main(sys.argv[1:])
