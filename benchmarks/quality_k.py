"""Is the chosen k right, is "no structure" honest, and does "agreed" mean right?

    python benchmarks/quality_k.py [--quick] [--seed N]

It prints four tables: data sets with a known number of clusters, generated mixtures, data without
clusters, and how often `agreed` and `contested` choices are right, with 95 % Wilson intervals. A
set is *recoverable* if K-Means with the true k reaches an adjusted Rand index of 0.9 against the
truth. If K-Means cannot find the groups, no rule based on it can be blamed for the wrong k.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from segmentation.clustering import ENGINES
from segmentation.evaluation import metrics
from segmentation.evaluation.silhouette import silhouettes
from segmentation.selection import cluster_tendency
from segmentation.selection.choice import choose

RECOVERABLE = 0.9
PEERS = ("silhouette", "elbow", "gap")
METHODS = ("evidence", *PEERS)
DATA = Path(
    os.environ.get("SEGMENT_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
#: True k, and whether the columns need standardising (their units differ).
KNOWN = {
    "hepta": (7, False),
    "tetra": (4, False),
    "twodiamonds": (2, False),
    "ruspini": (4, False),
    "iris": (3, False),
    "wine": (3, True),
    "unbalance": (8, False),
    "s1": (15, False),
    "s2": (15, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a sixth of the generated sets")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generated sets")
    options = parser.parse_args()
    started = time.process_time()
    mixtures, empty = (10, 28) if options.quick else (60, 210)

    known = known_sets()
    if known.empty:
        print(f"known-k sets skipped: {DATA / 'known_k'} not found (set SEGMENT_TEST_DATA)\n")
    else:
        print("Data sets with a known number of clusters, k = 1..20\n")
        print(known.drop(columns="structure").to_string(index=False), "\n")
    generated = generated_mixtures(mixtures, options.seed)
    print("Exact k, generated mixtures and known sets, k = 1..12 (known sets 1..20)\n")
    print(exact(pd.concat([known, generated])).to_string(index=False), "\n")
    print("Exact k by family, recoverable mixtures\n")
    print(by_family(generated[generated["ari"] >= RECOVERABLE]).to_string(), "\n")
    noise = structureless_sets(empty, options.seed)
    print("Structure claimed on data without clusters\n")
    print(claimed(noise).to_string(), "\n")
    print("How reliable the confidence is: right choices among the sets with a known truth\n")
    print(calibration(pd.concat([known, generated])).to_string(index=False), "\n")
    print(f"{time.process_time() - started:.0f} s CPU")


def judge(X: np.ndarray, true_k: int, truth: np.ndarray | None, k_max: int = 12) -> dict:
    """Return the k that every method chooses on one data set."""
    clusterings = ENGINES["sklearn"].fit_k_range(X, range(1, k_max + 1), seed=0)
    measured = silhouettes(X, clusterings, seed=0)
    curve = metrics.curve(X, clusterings, measured)
    found = choose("evidence", X, clusterings, curve, seed=0)
    row = {
        "true": true_k,
        "ari": adjusted_rand_score(truth, clusterings[true_k].labels) if truth is not None else 1.0,
        "structure": found.structure,
        "confidence": found.confidence,
        "agreeing": found.evidence.agreeing,
        "evidence": found.k,
    }
    for peer in PEERS:
        row[peer] = choose(peer, X, clusterings, curve, seed=0).k
    return row


def claims_structure(X: np.ndarray) -> bool:
    """Return whether the gate finds structure; the rest of the evidence is only computed then."""
    ks = range(1, min(12, len(np.unique(X, axis=0))) + 1)
    clusterings = ENGINES["sklearn"].fit_k_range(X, ks, seed=0, effort="fast")
    return cluster_tendency.find_structure(X, clusterings, seed=0).structure


def standardised(X: np.ndarray) -> np.ndarray:
    return (X - X.mean(axis=0)) / X.std(axis=0)


def known_sets() -> pd.DataFrame:
    folder = DATA / "known_k"
    rows = []
    for name, (k, scale) in KNOWN.items() if folder.is_dir() else ():
        if name == "ruspini":
            X, truth = np.loadtxt(folder / "ruspini.txt"), None
        else:
            X = np.loadtxt(folder / f"{name}.data.gz")
            truth = np.loadtxt(folder / f"{name}.labels0.gz").astype(int)
        rows.append({"set": name, **judge(standardised(X) if scale else X, k, truth, 20)})
    return pd.DataFrame(rows)


def generated_mixtures(count: int, seed: int) -> pd.DataFrame:
    rows = []
    for index in range(count):
        X, truth, family = mixture(np.random.default_rng([seed, 1, index]))
        rows.append({"set": family, **judge(standardised(X), int(truth.max()) + 1, truth)})
    return pd.DataFrame(rows)


def structureless_sets(count: int, seed: int) -> pd.DataFrame:
    rows = []
    names = list(STRUCTURELESS)
    for index in range(count):
        rng = np.random.default_rng([seed, 2, index])
        name = names[index % len(names)]
        n, d = int(rng.choice([100, 200, 500, 1000])), int(rng.integers(2, 7))
        X = STRUCTURELESS[name](n, d, rng)
        rows.append({"set": name, "structure": claims_structure(standardised(X))})
    return pd.DataFrame(rows)


def mixture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Draw 2 to 10 clusters of unequal sizes and widths, some of them elliptical."""
    k, d = int(rng.integers(2, 11)), int(rng.integers(2, 7))
    n = int(rng.choice([100, 200, 500, 1000]))
    separation = float(rng.choice([4.0, 5.0, 6.0, 8.0]))
    family = str(rng.choice(["gaussian", "uniform", "t5", "gamma"]))
    sizes = np.maximum((rng.dirichlet(np.full(k, 3.0)) * n).astype(int), max(8, n // 50))
    widths = rng.uniform(0.6, 1.5, k)
    centers = _spaced_centers(k, d, separation, widths, rng)
    stretch = rng.uniform(0.5, 1.3, (k, d)) if rng.random() < 0.4 else np.ones((k, d))
    blocks = [
        centers[j] + _noise(family, (size, d), rng) * widths[j] * stretch[j]
        for j, size in enumerate(sizes)
    ]
    return np.concatenate(blocks), np.repeat(np.arange(k), sizes), family


def _spaced_centers(
    k: int, d: int, separation: float, widths: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw centres at least `separation` mean widths apart, in a box just large enough."""
    side = separation * k ** (1 / d)
    while True:
        centers: list[np.ndarray] = []
        for _ in range(1000):
            point = rng.uniform(0, side, d)
            needed = separation * (widths[: len(centers)] + widths[len(centers)]) / 2
            if all(np.linalg.norm(point - c) >= s for c, s in zip(centers, needed, strict=True)):
                centers.append(point)
            if len(centers) == k:
                return np.array(centers)
        side *= 1.1


def _noise(family: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw deviations with variance 1."""
    if family == "uniform":
        return rng.uniform(-np.sqrt(3), np.sqrt(3), shape)
    if family == "t5":
        return rng.standard_t(5, shape) / np.sqrt(5 / 3)
    if family == "gamma":
        return (rng.gamma(4.0, size=shape) - 4) / 2 * rng.choice([-1, 1], shape[1])
    return rng.normal(size=shape)


def _correlated(d: int, rng: np.random.Generator) -> np.ndarray:
    axes = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return axes * rng.uniform(0.2, 2.0, d)


def _ball(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    X = rng.normal(size=(n, d))
    return X / np.linalg.norm(X, axis=1, keepdims=True) * rng.random((n, 1)) ** (1 / d)


STRUCTURELESS: dict[str, Callable[[int, int, np.random.Generator], np.ndarray]] = {
    "uniform": lambda n, d, rng: rng.random((n, d)),
    "gaussian": lambda n, d, rng: rng.normal(size=(n, d)),
    "correlated gaussian": lambda n, d, rng: rng.normal(size=(n, d)) @ _correlated(d, rng),
    "lognormal": lambda n, d, rng: np.exp(rng.choice([0.5, 1.0]) * rng.normal(size=(n, d))),
    "correlated lognormal": lambda n, d, rng: np.exp(
        0.6 * rng.normal(size=(n, d)) @ _correlated(d, rng)
    ),
    "t": lambda n, d, rng: rng.standard_t(rng.choice([3, 5]), (n, d)),
    "multivariate t": lambda n, d, rng: (
        rng.normal(size=(n, d)) @ _correlated(d, rng) / np.sqrt(rng.chisquare(4, (n, 1)) / 4)
    ),
    "exponential": lambda n, d, rng: rng.exponential(size=(n, d)),
    "rotated gamma": lambda n, d, rng: rng.gamma(2.0, size=(n, d)) @ _correlated(d, rng),
    "laplace": lambda n, d, rng: rng.laplace(size=(n, d)),
    "disk": _ball,
    "rotated uniform": lambda n, d, rng: rng.random((n, d)) @ _correlated(d, rng),
    "integers": lambda n, d, rng: rng.integers(0, rng.choice([10, 20, 50, 100]), (n, d)) * 1.0,
    "few integers": lambda n, d, rng: rng.integers(1, rng.choice([4, 6, 8]), (n, d)) * 1.0,
}


def share(hits: int, total: int) -> str:
    """Format a share with its 95 % Wilson interval, in per cent."""
    if total == 0:
        return "-"
    low, high = binomtest(hits, total).proportion_ci(method="wilson")
    return f"{100 * hits / total:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def exact(sets: pd.DataFrame) -> pd.DataFrame:
    rows = []
    is_known = sets["set"].isin(KNOWN)
    recoverable = sets["ari"] >= RECOVERABLE
    for name, chosen in {
        "mixtures, all": ~is_known,
        "mixtures, recoverable": ~is_known & recoverable,
        "known, all": is_known,
        # K-Means reaches 0.90 on wine and 0.94 on s2; with rounding the threshold includes both.
        "known, recoverable": is_known & (sets["ari"].round(2) >= RECOVERABLE),
    }.items():
        part = sets[chosen]
        hits = {
            method: share(int((part[method] == part["true"]).sum()), len(part))
            for method in METHODS
        }
        rows.append({"sets": name, "n": len(part), **hits})
    return pd.DataFrame(rows)


def by_family(sets: pd.DataFrame) -> pd.DataFrame:
    right = pd.DataFrame({method: sets[method] == sets["true"] for method in METHODS})
    table = right.groupby(sets["set"]).mean().mul(100).round(1)
    table.insert(0, "n", sets.groupby("set").size())
    return table


def claimed(sets: pd.DataFrame) -> pd.DataFrame:
    """Count the claims of structure; the other rules always claim it, as they cannot choose 1."""
    groups: Iterator[tuple[str, pd.DataFrame]] = iter(sets.groupby("set", sort=False))
    rows = {name: (len(part), int(part["structure"].sum())) for name, part in groups}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["n", "claimed"])
    table.loc["all"] = table.sum()
    table["per cent"] = [
        share(int(hits), int(n)) for n, hits in zip(table["n"], table["claimed"], strict=True)
    ]
    return table


def calibration(sets: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for subset, part in {
        "all": sets,
        "recoverable": sets[sets["ari"] >= RECOVERABLE],
    }.items():
        right = part["evidence"] == part["true"]
        for name, mask in {
            "agreed": part["confidence"] == "agreed",
            "contested": part["confidence"] == "contested",
            **{f"{votes} of 5 criteria": part["agreeing"] == votes for votes in range(5, -1, -1)},
        }.items():
            hits, total = int((right & mask).sum()), int(mask.sum())
            rows.append(
                {"sets": subset, "confidence": name, "n": total, "right": share(hits, total)}
            )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
