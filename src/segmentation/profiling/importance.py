"""Importance of each feature for the distances and for the assignment to segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer

from segmentation.evaluation.dispersion import scatter

Array = NDArray[np.float64]

#: A feature with a larger share of the separation leaves the others with hardly any effect.
ONE_DOES_IT_ALL = 0.8
#: Shuffles of each feature for the permutation importance.
SHUFFLES = 10


@dataclass(frozen=True)
class Importance:
    """Importance of each feature in a segmentation.

    Attributes
    ----------
    table : DataFrame
        One row per feature, the most separating first. Columns: ``feature``; ``distance_share``,
        its share of the squared distances between customers after scaling and weights;
        ``separation_share``, its share of the squared distances between the segments' centres and
        the overall centre (NaN at k=1); ``explained``, the share of the feature's own variance
        that is between the segments; ``moved``, the share of customers who change segment when
        the feature's values are shuffled. ``distance_share`` and ``separation_share`` each sum
        to 1.
    warning : str or None
        Warning that a single feature dominates the segmentation.
    rows : int
        Number of customers that ``moved`` was computed on.
    """

    table: pd.DataFrame
    warning: str | None
    rows: int


def feature_of_columns(encoder: ColumnTransformer) -> list[str] | None:
    """Return the source column of each encoded column, or None if they cannot be traced.

    Parameters
    ----------
    encoder : ColumnTransformer
        Fitted, from `segmentation.features.encoding.build_encoder`.
    """
    sources: list[str] = []
    for name, transformer, columns in encoder.transformers_:
        width = encoder.output_indices_[name].stop - encoder.output_indices_[name].start
        if hasattr(transformer, "categories_"):
            for column, values in zip(columns, transformer.categories_, strict=True):
                sources += [str(column)] * len(values)
        elif width == len(columns):
            sources += [str(column) for column in columns]
        elif width:
            # A custom transformer that mixes columns.
            return None
    return sources


def importance(
    Z: Array,
    labels: NDArray[np.int32],
    centers: Array,
    sources: Sequence[str],
    *,
    rows: NDArray[np.intp],
    scaling: str,
    seed: int,
) -> Importance:
    """Compute the importance of each feature in the segmentation.

    The shares are exact, not estimated: the total sum of squares is a sum over columns, and in
    each column it splits into within and between (T = W + B).

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    labels : ndarray of shape (n,)
    centers : ndarray of shape (k, d)
    sources : sequence of str, length d
        Feature that each column of `Z` belongs to.
    rows : ndarray of int
        Positions of the customers to shuffle; a sample on large data.
    scaling : str
        Name of the scaling, mentioned in the warning if it makes one feature dominate.
    seed : int
    """
    k, features = len(centers), list(dict.fromkeys(sources))
    block = np.array([features.index(source) for source in sources])
    found = scatter(Z, labels, k)
    total = np.bincount(block, found.total, len(features))
    apart = found.sizes @ (found.means - found.center) ** 2
    between = np.bincount(block, apart, len(features))
    with np.errstate(invalid="ignore", divide="ignore"):
        table = pd.DataFrame(
            {
                "feature": features,
                "distance_share": total / total.sum(),
                "separation_share": between / between.sum() if k > 1 else np.nan,
                "explained": between / total if k > 1 else np.nan,
                "moved": _moved(Z[rows], centers, block, len(features), seed) if k > 1 else np.nan,
            }
        )
    by = "separation_share" if k > 1 else "distance_share"
    order = table[by].round(9).sort_values(ascending=False, kind="stable").index
    table = table.loc[order].reset_index(drop=True)
    return Importance(
        table=table, warning=_warning(table, scaling) if k > 1 else None, rows=len(rows)
    )


def _moved(X: Array, centers: Array, block: NDArray[np.intp], features: int, seed: int) -> Array:
    """Permutation importance of the assignment (Breiman 2001, Machine Learning 45, sec. 10)."""
    rng = np.random.default_rng(seed)
    parts = [
        ((X[:, None, block == feature] - centers[None, :, block == feature]) ** 2).sum(axis=2)
        for feature in range(features)
    ]
    distances = np.sum(parts, axis=0)
    before = distances.argmin(axis=1)
    moved = np.zeros(features)
    for _ in range(SHUFFLES):
        order = rng.permutation(len(X))
        for feature, part in enumerate(parts):
            after = (distances - part + part[order]).argmin(axis=1)
            moved[feature] += (after != before).mean() / SHUFFLES
    return moved


def _warning(table: pd.DataFrame, scaling: str) -> str | None:
    first = table.iloc[0]
    if len(table) < 2 or first["separation_share"] <= ONE_DOES_IT_ALL:
        return None
    name = str(first["feature"])
    text = (
        f"{name} alone accounts for {_percent(first['separation_share'])} of the difference "
        f"between the segments: this is a split by {name}"
    )
    if first["distance_share"] > ONE_DOES_IT_ALL:
        return (
            f"{text}, because it accounts for {_percent(first['distance_share'])} of all distances "
            f"after scaling={scaling}. Try another scaling (scaling=standard gives all numbers "
            "equal influence) or a smaller weight (features.weights)"
        )
    return f"{text}. Leave it out (features.columns) to see what else there is"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
