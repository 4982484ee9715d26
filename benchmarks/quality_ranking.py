"""Does the ranking put the right segments first, whatever the seed?

    python benchmarks/quality_ranking.py [--count N] [--first N]

Two tables. The mall customers: the first answer of ``sweep=mall_features_by_scaling`` with ten
seeds of the bootstrap and of the null. Generated customers, whose segments are known: a few columns
hold the segments, two are noise; the candidates are four feature sets by three scalings. The table
says how often the first answer of the rule has the right number of segments, and how close it comes
to the best candidate. The families *tuning* were looked at while the rule was chosen, those under
*held out* were not. Sets without a good candidate are left out: no ranking can be right there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from quality_k import DATA, _spaced_centers, mixture, share, standardised
from segmentation.clustering import ENGINES
from segmentation.clustering.base import Clustering
from segmentation.data.customers import read_csv
from segmentation.evaluation import metrics
from segmentation.evaluation.partition import encode
from segmentation.evaluation.silhouette import silhouettes
from segmentation.evaluation.stability import bootstrap_stability
from segmentation.experiments.ranking import rank
from segmentation.features.encoding import build_encoder, fit_transform
from segmentation.features.feature_set import resolve
from segmentation.features.scaling import make_scaler
from segmentation.profiling.importance import feature_of_columns, importance
from segmentation.profiling.segments import order_by_size
from segmentation.selection.choice import choose
from segmentation.selection.evidence_settings import CRITERIA_SETTINGS
from segmentation.selection.standardised_gap import standardised_gap
from segmentation.tracking.run_metrics import EVIDENCE_VERSION

#: A set counts if a candidate comes this close to the truth (adjusted Rand index).
GOOD = 0.8
SCALINGS = ("none", "standard", "quantile")
AGE, INCOME, SPENDING = "Age", "Annual Income (k$)", "Spending Score (1-100)"
MALL = {
    "income_spending": [INCOME, SPENDING],
    "age_spending": [AGE, SPENDING],
    "age_income_spending": [AGE, INCOME, SPENDING],
    "all": ["Gender", AGE, INCOME, SPENDING],
}
MALL_SCALINGS = ("none", "standard", "minmax", "robust", "power", "quantile")

Rng = np.random.Generator
Draw = Callable[[Rng], tuple[np.ndarray, np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=48, help="generated sets of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first generated set")
    parser.add_argument("--save", help="pickle of all candidates")
    options = parser.parse_args()
    started = time.process_time()
    if (DATA / "Mall_Customers_Gender.csv").is_file():
        found = mall_candidates()
        first = pd.DataFrame([mall_first(found, seed) for seed in range(10)])
        first = first.drop(columns="features")
        print("Mall customers: the first answer, by the seed of the bootstrap and of the null\n")
        print(first.to_string(index=False), "\n")
    else:
        print(f"mall customers skipped: not found in {DATA} (set SEGMENT_TEST_DATA)\n")
    numbers = range(options.first, options.first + options.count)
    sets = {name: generated(name, numbers) for name in FAMILIES}
    if options.save:
        pd.concat(sets).to_pickle(options.save)
    print("Generated customers: the first of twelve candidates\n")
    print(summary(sets).to_string(index=False), "\n")
    print(f"{time.process_time() - started:.0f} s CPU")


@dataclass(frozen=True)
class Candidate:
    """One configuration, segmented without what only describes the segments."""

    Z: np.ndarray
    sources: Sequence[str]
    final: Clustering
    facts: dict[str, object]

    def row(self, seed: int) -> dict[str, object]:
        """Return what `rank` reads, with this seed of the bootstrap and of the null."""
        tested = self.facts["structure"] == "yes"
        stable = bootstrap_stability(self.Z, self.final, seed=seed) if tested else None
        gap = standardised_gap(self.Z, self.final.centers, seed=seed, features=self.sources)
        return {
            **self.facts,
            "stability": np.nan if stable is None else stable.stability,
            "stability_high": np.nan if stable is None else stable.high,
            "gap": np.nan if gap is None else gap.gap,
            "gap_se": np.nan if gap is None else gap.error,
            "evidence_version": EVIDENCE_VERSION,
            "start": pd.Timestamp("2026-01-01"),
            "data_sha256": "d",
        }


def candidate(
    Z: np.ndarray, sources: Sequence[str], name: str, scaling: str, k_max: int
) -> Candidate:
    clusterings = ENGINES["sklearn"].fit_k_range(Z, range(1, k_max + 1), seed=0)
    curve = metrics.curve(Z, clusterings, silhouettes(Z, clusterings, seed=0))
    choice = choose("evidence", Z, clusterings, curve, seed=0, features=sources)
    final = order_by_size(clusterings[choice.k])
    labels = final.labels.astype(np.int32)
    told = importance(
        Z, labels, final.centers, sources, rows=np.arange(len(Z)), scaling=scaling, seed=0
    )
    assert choice.evidence is not None
    at_k = choice.evidence.table.loc[choice.k]
    spread = at_k["gap_se"] / np.sqrt(1 + 1 / CRITERIA_SETTINGS.gap_draws)
    facts = {
        "run": f"{name}·{scaling}·k{choice.k}",
        "run_id": f"{name}·{scaling}",
        "config_hash": f"{name}·{scaling}",
        "features": name,
        "k": choice.k,
        "structure": "yes" if choice.structure else "no",
        "confidence": choice.confidence,
        "careful": told.warning,
        "gaussian gap": at_k["gap"] / spread if spread > 0 else np.nan,
        "partition": encode(pd.Series(np.arange(len(Z)).astype(str)), labels),
    }
    return Candidate(Z, sources, final, facts)


def mall_candidates() -> list[Candidate]:
    """Segment the mall customers by every configuration of ``sweep=mall_features_by_scaling``."""
    customers = read_csv(DATA / "Mall_Customers_Gender.csv")
    found = []
    for name, columns in MALL.items():
        features = resolve(columns, customers)
        for scaling in MALL_SCALINGS:
            encoder = build_encoder(features, scaling, customers.frame)
            Z = fit_transform(encoder, customers.frame)
            sources = feature_of_columns(encoder)
            assert sources is not None
            found.append(candidate(Z, sources, name, scaling, k_max=12))
    return found


def mall_first(found: Sequence[Candidate], seed: int) -> dict[str, object]:
    """Rank the candidates with a seed of the bootstrap and of the null; return the first."""
    first = rank(pd.DataFrame([each.row(seed) for each in found])).iloc[0]
    return {"seed": seed, **first[["run", "features", "k", "stability", "gap"]].to_dict()}


def generated(name: str, numbers: range) -> pd.DataFrame:
    """Return all candidates of some generated sets, with what old and new rule read."""
    families, noises = FAMILIES[name], NOISE[name]
    rows: list[dict[str, object]] = []
    for number in numbers:
        family = list(families)[number % len(families)]
        rng = np.random.default_rng([len(name), number])
        X, truth = families[family](rng)
        kind = list(noises)[number // len(families) % len(noises)]
        noise = noises[kind](len(X), rng)
        for features, columns in feature_sets(X, noise).items():
            sources = [str(j) for j in range(columns.shape[1])]
            for scaling in SCALINGS:
                scaler = make_scaler(scaling, len(columns))
                Z = np.ascontiguousarray(scaler.fit_transform(columns))
                found = candidate(Z, sources, features, scaling, k_max=9)
                ari = adjusted_rand_score(truth, found.final.labels)
                known = {"set": number, "family": family, "ari": ari, "true k": truth.max() + 1}
                rows.append({**found.row(0), **known})
    return pd.DataFrame(rows)


def feature_sets(X: np.ndarray, noise: np.ndarray) -> dict[str, np.ndarray]:
    """Return the right columns, all, one right with one of noise, noise only."""
    return {
        "right": X,
        "all": np.column_stack([X, noise]),
        "part": np.column_stack([X[:, :1], noise[:, :1]]),
        "noise": noise,
    }


def old_first(runs: pd.DataFrame) -> pd.Series:
    """Return the first run of the rule before: the stability itself, then a Gaussian null."""
    worth = runs.assign(
        structure=runs["structure"] == "yes",
        careful=runs["careful"].isna(),
        confidence=runs["confidence"].map({"agreed": 2, "contested": 1}).fillna(0),
    )
    order = ["structure", "careful", "confidence", "stability", "gaussian gap"]
    return runs.loc[worth.sort_values(order, ascending=False, kind="stable").index[0]]


RULES: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "before": old_first,
    "Gaussian null": lambda runs: rank(runs.assign(gap=runs["gaussian gap"])).iloc[0],
    "ranking": lambda runs: rank(runs).iloc[0],
}


def summary(sets: dict[str, pd.DataFrame]) -> pd.DataFrame:
    rows = []
    for name, table in sets.items():
        good = table[table.groupby("set")["ari"].transform("max") >= GOOD]
        groups = [runs.reset_index(drop=True) for _, runs in good.groupby("set")]
        for rule, pick in RULES.items():
            firsts = [pick(runs) for runs in groups]
            best = [runs["ari"].max() for runs in groups]
            rows.append(
                {
                    "families": name,
                    "rule": rule,
                    "n": len(groups),
                    "right k": share(sum(f["k"] == f["true k"] for f in firsts), len(groups)),
                    "near the best": share(
                        sum(f["ari"] >= b - 0.05 for f, b in zip(firsts, best, strict=True)),
                        len(groups),
                    ),
                    "mean ARI": round(float(np.mean([f["ari"] for f in firsts])), 3),
                    "of": round(float(np.mean(best)), 3),
                }
            )
    return pd.DataFrame(rows)


def _small_mixture(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    while True:
        X, truth, _ = mixture(rng)
        if truth.max() < 6 and X.shape[1] <= 3 and len(X) <= 200:
            return X, truth


def _skewed_mixture(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    X, truth = _small_mixture(rng)
    return np.exp(0.35 * standardised(X)), truth


def _cross(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    centers = np.array([[0, 0], [1, 1], [-1, 1], [1, -1], [-1, -1]]) * rng.uniform(2.0, 3.0)
    truth = rng.choice(5, 200, p=[0.4, 0.2, 0.15, 0.15, 0.1])
    return centers[truth] + rng.uniform(-1, 1, (200, 2)), truth


def _counts_and_money(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    k = int(rng.integers(3, 6))
    truth = rng.integers(0, k, 200)
    levels = rng.permuted(np.broadcast_to(np.arange(k), (3, k)), axis=1).T
    X = np.exp(0.8 * levels[truth] + 0.28 * rng.normal(size=(200, 3)))
    return np.column_stack([np.round(3 * X[:, 0]), X[:, 1:]]), truth


def _likert(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    k = int(rng.integers(2, 5))
    while True:
        answers = rng.integers(1, 8, (k, 4))
        apart = np.abs(answers[:, None] - answers[None]).sum(axis=2)
        if apart[~np.eye(k, dtype=bool)].min() >= 8:
            break
    truth = rng.integers(0, k, 200)
    return np.clip(np.round(answers[truth] + 0.9 * rng.normal(size=(200, 4))), 1, 7), truth


def _diagonal(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, int(rng.integers(2, 4)), 200)
    return 5.0 * truth[:, None] + rng.normal(size=(200, 2)), truth


def _heavy_tails(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    k = int(rng.integers(3, 7))
    centers = _spaced_centers(k, 3, 6.5, np.ones(k), rng)
    truth = rng.choice(k, 200, p=0.8 * rng.dirichlet(np.full(k, 2.0)) + 0.2 / k)
    return centers[truth] + rng.standard_t(6, (200, 3)), truth


def _one_column(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.integers(0, 2, 200)
    return np.column_stack([7.0 * truth + rng.normal(size=200), rng.normal(size=200)]), truth


def _pairs_of_groups(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Two groups far apart, each of two or three: the coarse split is the most stable."""
    truth = rng.integers(0, int(rng.integers(4, 7)), 200)
    near = np.column_stack([np.zeros(6), [0, 0, 5, 5, 10, 10]])
    far = np.column_stack([[0, 14, 0, 14, 0, 14], np.zeros(6)])
    return (near + far)[truth] + rng.normal(size=(200, 2)), truth


def _mall(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Five groups in two columns; in a third, those of high spending are younger."""
    X, truth = _cross(rng)
    age = 40 + 18 * rng.normal(size=200)
    young = X[:, 1] > X[:, 1].mean()
    return np.column_stack([X, np.where(young, 30 + 5 * rng.normal(size=200), age)]), truth


FAMILIES: dict[str, dict[str, Draw]] = {
    "tuning": {"mixture": _small_mixture, "skewed mixture": _skewed_mixture},
    "held out": {
        "cross": _cross,
        "counts and money": _counts_and_money,
        "Likert": _likert,
        "diagonal": _diagonal,
        "heavy tails": _heavy_tails,
        "one column": _one_column,
        "pairs of groups": _pairs_of_groups,
        "mall": _mall,
    },
}

Noise = Callable[[int, Rng], np.ndarray]


def _correlated(n: int, rng: Rng) -> np.ndarray:
    return rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], n)


NOISE: dict[str, dict[str, Noise]] = {
    "tuning": {
        "Gaussian": lambda n, rng: rng.normal(size=(n, 2)),
        "uniform": lambda n, rng: rng.random((n, 2)),
        "lognormal": lambda n, rng: np.exp(rng.normal(size=(n, 2))),
        "correlated": _correlated,
        "two modes": lambda n, rng: (
            rng.normal(size=(n, 2)) + 6 * rng.integers(0, 2, (n, 1)) * [1, 0]
        ),
        "integers": lambda n, rng: rng.integers(0, 5, (n, 2)) * 1.0,
    },
    "held out": {
        "skewed and correlated": lambda n, rng: np.exp(0.7 * _correlated(n, rng)),
        "t": lambda n, rng: rng.standard_t(4, (n, 2)),
        "zero-inflated": lambda n, rng: (rng.random((n, 2)) < 0.5) * rng.exponential(size=(n, 2)),
        "gamma": lambda n, rng: rng.gamma(2.0, size=(n, 2)),
        "two modes, unequal": lambda n, rng: (
            rng.normal(size=(n, 2)) + 5 * (rng.random((n, 1)) < 0.2) * [1, 0]
        ),
        "few integers": lambda n, rng: rng.integers(0, 3, (n, 2)) * 1.0,
    },
}


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
