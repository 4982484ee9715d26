"""Do segments keep their ids when they are the same, and only then?

    python benchmarks/quality_identity.py [--pairs N] [--seed N] [--development]

Each pair of data sets has the same columns. A champion is fitted on the first and a challenger on
the second, with the number of groups each was drawn with, and the new segments are matched as
`segment promote` does. Printed are the shares of new segments that keep an old id:

- *unrelated*: location, scale and structure of every column are drawn independently;
- *one range*: structure drawn independently, then every column is scaled to 0..100;
- *one mixture*: two samples of one mixture.

Beside the rule stand the two simpler ones that it replaced: most customers of one in the other and
a Jaccard of a third; and pairs of means where one is nearest to the other. Groups that overlap so
much that two fits on one sample already differ cannot be kept by any rule, so mixtures are drawn
with groups apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import binomtest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from skops.io import dump
from threadpoolctl import threadpool_limits

from segmentation.features.scaling import SCALINGS
from segmentation.model.segment_model import PIPELINE_FILE, SEGMENTS_FILE, SegmentModel, Segments
from segmentation.registry import lineage
from segmentation.registry.comparison import label, overlap
from segmentation.registry.likeness import Overlap

KINDS = ("unrelated", "one range", "one mixture")
#: The rule was developed on the first families; results are reported on the others.
DEVELOPMENT, HELD_OUT = ("gaussian", "uniform"), ("gamma", "t5", "stretched")
RULES = ("rule", "jaccard of a third", "nearest means")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=200, help="pairs of each kind")
    parser.add_argument("--seed", type=int, default=1000, help="seed of the first pair")
    parser.add_argument("--development", action="store_true", help="the families developed on")
    options = parser.parse_args()
    started = time.process_time()
    families = DEVELOPMENT if options.development else HELD_OUT
    seeds = range(options.seed, options.seed + options.pairs)
    rows = {kind: [kept(*pair(kind, seed, families)) for seed in seeds] for kind in KINDS}
    print(f"Segments that keep an id: {options.pairs} pairs of each kind, {', '.join(families)}\n")
    print(table(rows).to_string(index=False))
    print(f"\n{time.process_time() - started:.0f} CPU seconds")


def table(rows: dict[str, list[dict[str, int]]]) -> pd.DataFrame:
    """Return per kind the number of new segments and the per cent that keep an id, by rule."""
    lines = []
    for kind, found in rows.items():
        total = pd.DataFrame(found).sum()
        line: dict[str, object] = {"pairs": kind, "segments": total["segments"]}
        for rule in RULES:
            test = binomtest(int(total[rule]), int(total["segments"]))
            low, high = test.proportion_ci(method="wilson")
            share = total[rule] / total["segments"]
            line[rule] = f"{100 * share:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        lines.append(line)
    return pd.DataFrame(lines)


def pair(
    kind: str, seed: int, families: tuple[str, ...] = HELD_OUT
) -> tuple[pd.DataFrame, int, pd.DataFrame, int, str]:
    """Draw two data sets with their numbers of groups, and the name of a scaling."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    columns = int(rng.integers(2, 6))
    scaling = str(rng.choice([*SCALINGS]))
    first = mixture(rng, columns, families)
    second = first if kind == "one mixture" else mixture(rng, columns, families)
    tables = []
    for draw in (first, second):
        X, k = draw
        rows = rng.permutation(len(X))[: len(X) // 2]
        X = X[rows]
        if kind == "one range":
            X = 100 * (X - X.min(axis=0)) / np.ptp(X, axis=0)
        elif kind == "unrelated":
            X = X * 10 ** rng.uniform(-2, 2, columns) + rng.normal(0, 100, columns)
        tables.append((pd.DataFrame(X, columns=[f"x{j}" for j in range(columns)]), k))
    (old, old_k), (new, new_k) = tables
    return old, old_k, new, new_k, scaling


def mixture(
    rng: np.random.Generator, columns: int, families: tuple[str, ...]
) -> tuple[NDArray[np.float64], int]:
    """Draw a mixture of 1 to 7 groups whose centres are at least six standard deviations apart."""
    k, family = int(rng.integers(1, 8)), rng.choice(families)
    n = int(rng.integers(60, 200)) * k * 2
    centers: list[NDArray[np.float64]] = []
    side = 12.0
    while len(centers) < k:
        candidate = rng.uniform(-side, side, columns)
        if all(np.linalg.norm(candidate - center) >= 6 for center in centers):
            centers.append(candidate)
        side *= 1.01
    sizes = np.maximum((rng.dirichlet(np.full(k, 5.0)) * n).astype(int), 40)
    parts = [
        center + noise(rng, family, (size, columns))
        for center, size in zip(centers, sizes, strict=True)
    ]
    return np.concatenate(parts), k


def noise(rng: np.random.Generator, family: str, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw noise of mean 0 and standard deviation 1."""
    if family == "uniform":
        return rng.uniform(-np.sqrt(3), np.sqrt(3), shape)
    if family == "gamma":
        return (rng.gamma(4, size=shape) - 4) / 2
    if family == "t5":
        return rng.standard_t(5, shape) / np.sqrt(5 / 3)
    X = rng.normal(size=shape)
    if family == "stretched":
        turned = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))[0]
        X = X * rng.uniform(0.4, 1.4, shape[1]) @ turned
    return X


def kept(
    old: pd.DataFrame, old_k: int, new: pd.DataFrame, new_k: int, scaling: str
) -> dict[str, int]:
    """Return the number of new segments, and of those that keep an id under each rule."""
    champion, challenger = portable(old, old_k, scaling), fit(new, new_k, scaling)
    index = challenger.predict(new).astype(np.int64)
    found = overlap(champion, new, label(champion, new), index, k=new_k)
    ids = lineage.match(found, used=old_k).ids
    means = [
        frame.groupby(labels).mean()
        for frame, labels in ((old, champion.pipeline.predict(old)), (new, index))
    ]
    return {
        "segments": new_k,
        "rule": sum(segment < old_k for segment in ids),
        "jaccard of a third": jaccard_of_a_third(found),
        "nearest means": nearest_means(*(frame.to_numpy() for frame in means)),
    }


def fit(frame: pd.DataFrame, k: int, scaling: str) -> Pipeline:
    scaler = SCALINGS[scaling].build(len(frame))
    features = ColumnTransformer([("numeric", scaler, list(frame.columns))])
    kmeans = KMeans(k, n_init=5, random_state=0)
    return Pipeline([("features", features), ("kmeans", kmeans)]).fit(frame)


def portable(frame: pd.DataFrame, k: int, scaling: str) -> SegmentModel:
    """Fit a model, write its files and read them as other programs do."""
    pipeline = fit(frame, k, scaling)
    distances = pipeline.transform(frame).min(axis=1)
    labels = pipeline.predict(frame)
    segments = Segments(
        columns=[{"name": str(name)} for name in frame.columns],
        ids=tuple(range(k)),
        names=tuple(f"s{j}" for j in range(k)),
        radius=tuple(float(np.quantile(distances[labels == j], 0.99)) for j in range(k)),
    )
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / PIPELINE_FILE, Path(folder) / SEGMENTS_FILE
        dump(pipeline, files[0])
        segments.write(files[1])
        return SegmentModel().read(*files)


def jaccard_of_a_third(found: Overlap) -> int:
    """Count matches by the rule of version 0.1.0 for customers that both models label."""
    table = found.counts.to_numpy(dtype=float)
    old, new = table.sum(axis=1, keepdims=True), table.sum(axis=0, keepdims=True)
    most = (table >= 0.5 * np.maximum(old, 1)) | (table >= 0.5 * np.maximum(new, 1))
    rows, columns = linear_sum_assignment(-table)
    related = most & (table >= np.maximum(old + new - table, 1) / 3)
    return int(related[rows, columns].sum())


def nearest_means(old: NDArray[np.float64], new: NDArray[np.float64]) -> int:
    """Count matches by the rule of version 0.1.0 for customers that only one model labels."""
    spread = np.concatenate([old, new]).std(axis=0)
    distances = cdist(old / spread, new / spread)
    nearest = distances <= distances.min(axis=1, keepdims=True)
    nearest |= distances <= distances.min(axis=0, keepdims=True)
    rows, columns = linear_sum_assignment(distances)
    return int(nearest[rows, columns].sum())


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
