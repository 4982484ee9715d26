"""Generate customers of an imaginary shopping mall, so that no download is needed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from segmentation.errors import ConfigError


@dataclass(frozen=True)
class _Group:
    """A group's share of the customers, and (mean, standard deviation) of its columns."""

    share: float
    age: tuple[float, float]
    income: tuple[float, float]
    score: tuple[float, float]
    women: float


# Modelled on the well-known mall customers: a broad middle and four corners that overlap it.
_GROUPS = (
    _Group(0.40, age=(43, 16), income=(55, 9.5), score=(50, 7.5), women=0.59),
    _Group(0.20, age=(33, 4), income=(86, 15), score=(82, 9.5), women=0.54),
    _Group(0.175, age=(41, 11), income=(88, 15), score=(17, 10), women=0.46),
    _Group(0.115, age=(45, 13), income=(26, 8), score=(20, 12), women=0.61),
    _Group(0.11, age=(25, 5), income=(26, 8), score=(79, 10), women=0.59),
)
_AGES, _INCOMES, _SCORES = (18, 70), (15, 140), (1, 100)


def generate_customers(n: int = 200, seed: int = 0) -> pd.DataFrame:
    """Generate customers in five overlapping groups of income and spending.

    Parameters
    ----------
    n
        Number of customers, at least 2.
    seed
        The same `n` and `seed` give the same customers.

    Returns
    -------
    DataFrame of n rows: `customer_id` ("0001", ...), `gender` ("Female"/"Male"), `age` (years),
    `annual_income` (thousands), `spending_score` (1..100); whole numbers.

    Raises
    ------
    ConfigError
        `n` is below 2 or `seed` is negative.
    """
    if n < 2:
        raise ConfigError(f"data.customers={n} is not allowed; at least 2 are needed.")
    if seed < 0:
        raise ConfigError(f"data.seed={seed} is not allowed; use 0 or more.")
    rng = np.random.default_rng(seed)
    # Fixed shares instead of random ones: even a small demo has every group.
    edges = np.round(np.cumsum([group.share for group in _GROUPS]) * n).astype(int)
    group = rng.permutation(np.searchsorted(edges, np.arange(n), side="right"))

    def drawn(name: str, low: int, high: int) -> npt.NDArray[np.int64]:
        mean, spread = np.array([getattr(g, name) for g in _GROUPS]).T
        values = rng.normal(mean[group], spread[group])
        # Reflected at the limits: clipping would pile up customers there.
        values = np.where(values < low, 2 * low - values, values)
        values = np.where(values > high, 2 * high - values, values)
        whole: npt.NDArray[np.int64] = np.clip(np.rint(values), low, high).astype(np.int64)
        return whole

    width = max(4, len(str(n)))
    women = np.array([g.women for g in _GROUPS])[group]
    return pd.DataFrame(
        {
            "customer_id": [f"{i:0{width}d}" for i in range(1, n + 1)],
            "gender": np.where(rng.random(n) < women, "Female", "Male"),
            "age": drawn("age", *_AGES),
            "annual_income": drawn("income", *_INCOMES),
            "spending_score": drawn("score", *_SCORES),
        }
    ).astype({"customer_id": "str", "gender": "str"})
