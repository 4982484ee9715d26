"""Agreement between runs: the adjusted Rand index of their partitions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from segmentation.evaluation.partition import Partition
from segmentation.evaluation.stability import adjusted_rand


def agreement(partitions: Mapping[str, Partition]) -> pd.DataFrame:
    """Compute the adjusted Rand index of every pair of partitions.

    1 means the same groups, whatever their ids; 0 means no more agreement than by chance (Hubert,
    Arabie 1985, J. Classification 2, eq. 5).

    Parameters
    ----------
    partitions : mapping of str to Partition
        By the name of the run.

    Returns
    -------
    DataFrame
        Square and symmetric, with the names as index and columns; NaN for partitions of different
        customers.
    """
    names = list(partitions)
    table = pd.DataFrame(np.eye(len(names)), index=names, columns=names)
    for i, first in enumerate(names):
        for second in names[:i]:
            score = _adjusted_rand(partitions[first], partitions[second])
            table.loc[first, second] = table.loc[second, first] = score
    return table


def _adjusted_rand(first: Partition, second: Partition) -> float:
    if first.key != second.key or len(first.labels) != len(second.labels):
        return float("nan")
    own, other = (each.labels.astype(np.intp)[None] for each in (first, second))
    return float(adjusted_rand(own, other, int(max(own.max(), other.max())) + 1)[0])


def sentence(table: pd.DataFrame) -> str:
    """Summarise the agreement of the answers in one sentence."""
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
        f"Agreement of the first {len(table)} answers (adjusted Rand index): "
        f"{low:.2f} to {high:.2f}; {story}."
    )
