"""Do runs tell the same story? The adjusted Rand index between their segmentations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score


def agreement(segments: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Adjusted Rand index of every pair of segmentations, on the customers both have.

    1: the same groups, whatever their ids; 0: no more alike than chance (Hubert, Arabie 1985,
    J. Classification 2, eq. 5).

    Parameters
    ----------
    segments : mapping of str to Series
        Segment of each customer, indexed by customer id, by the run's name.

    Returns
    -------
    DataFrame
        Square and symmetric, with the names on both sides; NaN for runs without common customers.
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
    """What the agreement of the runs means, in plain words."""
    pairs = table.to_numpy()[np.triu_indices(len(table), 1)]
    pairs = pairs[np.isfinite(pairs)]
    if not len(pairs):
        return ""
    # Adding 0 makes a rounded -0.00 plain 0.00.
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
