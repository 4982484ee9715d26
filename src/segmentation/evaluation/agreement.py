"""Agreement between runs: the adjusted Rand index of their segmentations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score


def agreement(segments: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Compute the adjusted Rand index of every pair of segmentations on their common customers.

    1 means the same groups, whatever their ids; 0 means no more agreement than by chance (Hubert,
    Arabie 1985, J. Classification 2, eq. 5).

    Parameters
    ----------
    segments : mapping of str to Series
        Maps each run's name to its segments, indexed by customer id.

    Returns
    -------
    DataFrame
        Square and symmetric, with the names as index and columns; NaN for runs without common
        customers.
    """
    names = list(segments)
    table = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for i, first in enumerate(names):
        for second in names[:i]:
            score = _adjusted_rand(segments[first], segments[second])
            table.loc[first, second] = table.loc[second, first] = score
    return table


def _adjusted_rand(first: pd.Series, second: pd.Series) -> float:
    if not first.index.equals(second.index):
        first, second = first.align(second, join="inner")
    if not len(first):
        return float("nan")
    return float(adjusted_rand_score(first.to_numpy(), second.to_numpy()))


def sentence(table: pd.DataFrame) -> str:
    """Summarise the agreement of the runs in one sentence."""
    pairs = table.to_numpy()[np.triu_indices(len(table), 1)]
    pairs = pairs[np.isfinite(pairs)]
    if not len(pairs):
        return ""
    # Adding 0 turns a rounded -0.00 into 0.00.
    low, high = pairs.min().round(2) + 0, pairs.max().round(2) + 0
    story = (
        "they tell the same story"
        if low >= 0.8
        else "they tell different stories"
        if high < 0.5
        else "some tell the same story, some do not"
    )
    return (
        f"Agreement of the first {len(table)} runs (adjusted Rand index): "
        f"{low:.2f} to {high:.2f}; {story}."
    )
