"""Many customers: the engine compared with the obvious script, and where its time goes.

The obvious script runs ``KMeans(k, n_init=10)`` for k = 2..12 with as many threads as it likes.
Both sides get the same scaled matrix. Each runs in its own process, one after the other; seconds
are the wall time of the fits only.

    python benchmarks/large_data.py                       # 1e5 and 1e6 rows, three families
    python benchmarks/large_data.py --rows 1e7 --seeds 1  # the obvious script at three k, scaled up
    python benchmarks/large_data.py --growth              # how cost grows from 1e4 to 1e7 rows

``ppm`` is the relative difference of the WCSS to the obvious script's, in millionths; below 0 the
engine is better. ``limit`` is the time to read the matrix once at memory speed, times the number of
passes.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

KS = range(2, 13)
#: On 1e7 rows the obvious script is only measured at these k; the other times are interpolated.
FEW_KS = (2, 7, 12)
MANY_ROWS = 5_000_000


def skewed(n: int, d: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw eleven overlapping groups with gamma-distributed centres and members."""
    centers = rng.gamma(2.0, 2.0, size=(11, d))
    spread = rng.uniform(0.5, 1.2, size=(11, d))
    group = rng.choice(11, n, p=rng.dirichlet(np.full(11, 2.0)))
    return centers[group] + (rng.gamma(2.0, 1.0, size=(n, d)) - 2.0) * spread[group]


def integers(n: int, d: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw whole numbers from 0 to 99 around eight centres: many ties, equal rows if d is small."""
    centers = rng.uniform(1, 60, size=(8, d))
    group = rng.choice(8, n, p=rng.dirichlet(np.full(8, 3.0)))
    return np.clip(np.rint(centers[group] + rng.normal(0, 6, size=(n, d))), 0, 99)


def heavy(n: int, d: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw six groups with Student's t tails of three degrees of freedom."""
    centers = rng.normal(0, 2.5, size=(6, d))
    group = rng.choice(6, n, p=rng.dirichlet(np.full(6, 3.0)))
    return centers[group] + rng.standard_t(3, size=(n, d))


FAMILIES: dict[str, Callable[[int, int, np.random.Generator], NDArray[np.float64]]] = {
    "skewed": skewed,
    "integers": integers,
    "heavy": heavy,
}


def matrix(family: str, n: int, d: int, seed: int) -> NDArray[np.float64]:
    Z = FAMILIES[family](n, d, np.random.default_rng([seed, d]))
    Z -= Z.mean(axis=0)
    Z /= Z.std(axis=0)
    return Z


def obvious(Z: NDArray[np.float64], ks: Sequence[int], seed: int) -> dict[str, Any]:
    from sklearn.cluster import KMeans

    seconds, wcss = {}, {}
    for k in ks:
        start = time.perf_counter()
        wcss[k] = float(KMeans(k, n_init=10, random_state=seed).fit(Z).inertia_)
        seconds[k] = time.perf_counter() - start
    return {"seconds": seconds, "wcss": wcss}


def segment(Z: NDArray[np.float64], ks: Sequence[int], seed: int) -> dict[str, Any]:
    from segmentation.clustering import ENGINES

    start = time.perf_counter()
    fitted = ENGINES["sklearn"].fit_k_range(Z, ks, seed=seed)
    seconds = time.perf_counter() - start
    pass_seconds = _pass_at_memory_speed(Z)
    passes = max((c.polish.passes for c in fitted.values() if c.polish), default=math.nan)
    return {
        "seconds": seconds,
        "wcss": {k: clustering.wcss for k, clustering in fitted.items()},
        "limit": pass_seconds * passes,
    }


def _pass_at_memory_speed(Z: NDArray[np.float64]) -> float:
    start = time.perf_counter()
    Z.sum()
    return time.perf_counter() - start


SIDES = {"obvious": obvious, "segment": segment}


def measure(side: str, family: str, n: int, d: int, seed: int, ks: Sequence[int]) -> dict[str, Any]:
    """Run one side of one cell in its own process; also return its and the matrix's peak MiB."""
    arguments = [side, family, str(n), str(d), str(seed), json.dumps(list(ks))]
    run = subprocess.run(
        [sys.executable, __file__, "--cell", *arguments], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def cell(side: str, family: str, n: str, d: str, seed: str, ks: str) -> None:
    Z = matrix(family, int(n), int(d), int(seed))
    # Fit a few rows first, so that imports and thread pools are not part of the measured fit.
    SIDES[side](Z[:5000], [2, 3], 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = SIDES[side](Z, json.loads(ks), int(seed))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Generating the data needs more memory than most fits; only a higher peak can be seen.
    print(json.dumps({**found, "mib": after / 1024, "made_with": before / 1024}))


def compare(n: int, ds: Sequence[int], families: Sequence[str], seeds: int) -> None:
    """Print one line per cell and the medians."""
    head = ("rows", "d", "family", "seed", "obvious s", "segment s", "ratio")
    print(" ".join(f"{name:>9s}" for name in (*head, "worst ppm", "best ppm", "limit s")))
    ratios: dict[str, list[float]] = {}
    above = below = cells = 0
    for d in ds:
        for family in families:
            for seed in range(seeds):
                asked = FEW_KS if n >= MANY_ROWS else tuple(KS)
                theirs = measure("obvious", family, n, d, seed, asked)
                ours = measure("segment", family, n, d, seed, tuple(KS))
                known = [float(theirs["seconds"][str(k)]) for k in asked]
                seconds = float(np.interp(KS, asked, known).sum())
                ppm = [1e6 * (ours["wcss"][str(k)] / theirs["wcss"][str(k)] - 1) for k in asked]
                ratio = seconds / ours["seconds"]
                ratios.setdefault(f"{n:.0e} x {d}", []).append(ratio)
                above += sum(p > 20 for p in ppm)
                below += sum(p < -20 for p in ppm)
                cells += len(ppm)
                values = f"{seconds:9.1f} {ours['seconds']:9.2f} {ratio:8.1f}x"
                rest = f"{max(ppm):9.1f} {min(ppm):9.1f} {ours['limit']:9.2f}"
                print(f"{n:9.0e} {d:9d} {family:>9s} {seed:9d} {values} {rest}", flush=True)
    for name, found in ratios.items():
        print(f"{name}: median {statistics.median(found):.1f}x, worst {min(found):.1f}x")
    print(
        f"of {cells} WCSS, {above} are more than 20 ppm above the obvious script's, {below} below\n"
    )


def grow(families: Sequence[str]) -> None:
    """Print the seconds for 1e4 to 1e7 rows and the slope of their logarithm."""
    print(f"{'family':>9s} " + " ".join(f"{n:>9.0e}" for n in GROWTH) + "     slope  peak MiB")
    for family in families:
        found = [measure("segment", family, n, 8, 0, tuple(KS)) for n in GROWTH]
        seconds = [each["seconds"] for each in found]
        slope = np.polyfit(np.log(GROWTH), np.log(seconds), 1)[0]
        last = found[-1]
        line = " ".join(f"{s:9.2f}" for s in seconds)
        print(f"{family:>9s} {line} {slope:9.2f} {last['mib']:9.0f}", flush=True)
    print(f"The matrix of {GROWTH[-1]:.0e} rows takes {GROWTH[-1] * 8 * 8 / 2**20:.0f} MiB.\n")


GROWTH = (10_000, 100_000, 1_000_000, 10_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--features", type=int, nargs="+", default=[3, 8, 16])
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--cell", nargs=6, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cell:
        cell(*arguments.cell)
    elif arguments.growth:
        grow(arguments.families)
    else:
        for n in arguments.rows:
            compare(int(n), arguments.features, arguments.families, arguments.seeds)


if __name__ == "__main__":
    main()
