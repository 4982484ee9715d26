"""Generated data for `quality_wcss.py`: families the search was tuned on, and families held out.

Rows come from the family, the number of rows, the number of columns and a seed alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Family = Callable[[np.random.Generator, int, int], Rows]
Cell = tuple[str, int, int, int]


def mixture(
    rng: np.random.Generator,
    n: int,
    d: int,
    groups: int,
    spread: float,
    shares: NDArray[np.float64] | None = None,
    *,
    turned: bool = False,
) -> Rows:
    """Normal groups whose centres lie `spread` standard deviations apart; turned: no spheres."""
    share = np.ones(groups) if shares is None else shares
    centers = rng.normal(size=(groups, d)) * spread
    own = rng.choice(groups, n, p=share / share.sum())
    X = rng.normal(size=(n, d))
    for j in range(groups if turned else 0):
        X[own == j] = X[own == j] @ (rng.normal(size=(d, d)) / np.sqrt(d))
    return X + centers[own]


def board(rng: np.random.Generator, n: int, d: int) -> Rows:
    """Rows of holes on a grid, as drilled into a circuit board."""
    lines: list[Rows] = []
    while sum(map(len, lines)) < n:
        step = np.zeros(d)
        step[rng.integers(d)] = rng.choice([1.0, 2.5, 5.0])
        holes = int(rng.integers(2, 30))
        first = np.round(rng.uniform(0, 100, size=d))
        aside = rng.integers(0, 3, size=(holes, d)) * 0.5
        lines.append(first + step * np.arange(holes)[:, None] + aside)
    return np.vstack(lines)[:n]


def ring(rng: np.random.Generator, n: int, d: int) -> Rows:
    """A hollow ball."""
    X = rng.normal(size=(n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X * (1 + 0.1 * rng.normal(size=(n, 1)))


def factor(rng: np.random.Generator, n: int, d: int) -> Rows:
    """Three hidden factors and noise."""
    hidden = min(3, d)
    return rng.normal(size=(n, hidden)) @ rng.normal(size=(hidden, d)) + 0.3 * rng.normal(
        size=(n, d)
    )


def customers(rng: np.random.Generator, n: int, d: int) -> Rows:
    """A skewed amount beside groups of unequal sizes."""
    amount = np.exp(rng.normal(size=(n, 1)) * 0.7 + rng.choice([0, 1.5], (n, 1)))
    shares = np.array([30.0, 20, 15, 8, 3, 1])
    return np.column_stack([amount, mixture(rng, n, d - 1, 6, 2.2, shares)])


TUNED: dict[str, Family] = {
    "uniform": lambda rng, n, d: rng.uniform(size=(n, d)),
    "normal": lambda rng, n, d: rng.normal(size=(n, d)),
    "overlapping": lambda rng, n, d: mixture(rng, n, d, 8, 1.3),
    "separated": lambda rng, n, d: mixture(rng, n, d, 9, 6.0),
    "unequal": lambda rng, n, d: mixture(rng, n, d, 8, 2.5, 2.0 ** -np.arange(8)),
    "heavy tails": lambda rng, n, d: rng.standard_t(3, size=(n, d)),
    "lattice": lambda rng, n, d: np.round(mixture(rng, n, d, 6, 2.0) * 2),
}
HELD_OUT: dict[str, Family] = {
    "lognormal": lambda rng, n, d: np.exp(0.4 * mixture(rng, n, d, 5, 1.0)),
    "factor": factor,
    "turned": lambda rng, n, d: mixture(rng, n, d, 7, 3.0, rng.uniform(0.2, 1, 7), turned=True),
    "dirichlet": lambda rng, n, d: rng.dirichlet(np.full(d, 0.6), size=n),
    "counts": lambda rng, n, d: rng.negative_binomial(2, 0.3, size=(n, d)).astype(float),
    "ring": ring,
    "board": board,
    "customers": customers,
    "corners": lambda rng, n, d: rng.integers(0, 2, (n, d)) + rng.uniform(-0.7, 0.7, (n, d)),
}
TUNED_CELLS: list[Cell] = [
    ("uniform", 2_500, 2, 0),
    ("uniform", 5_000, 6, 0),
    ("normal", 3_000, 10, 0),
    ("overlapping", 8_000, 4, 0),
    ("heavy tails", 4_000, 4, 0),
    ("lattice", 6_000, 3, 0),
    ("unequal", 12_000, 6, 0),
    ("uniform", 20_000, 3, 0),
]
HELD_OUT_CELLS: list[Cell] = [
    ("lognormal", 3_000, 4, 5),
    ("factor", 2_500, 12, 5),
    ("turned", 4_000, 5, 5),
    ("dirichlet", 3_500, 4, 5),
    ("counts", 5_000, 3, 5),
    ("ring", 2_500, 2, 5),
    ("board", 3_000, 2, 5),
    ("customers", 7_000, 6, 5),
    ("corners", 4_000, 8, 5),
    ("lognormal", 12_000, 6, 5),
    ("board", 11_000, 2, 5),
    ("customers", 20_000, 4, 5),
]


def draw(family: str, n: int, d: int, seed: int) -> Rows:
    """Draw the rows of a cell."""
    rng = np.random.default_rng([seed, n, d, sum(map(ord, family))])
    return (TUNED | HELD_OUT)[family](rng, n, d)
