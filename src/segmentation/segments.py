"""From cluster indices to segments: ids by size, profiles in the customers' units, names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from segmentation.engines.base import Clustering

#: Words for a segment's mean, by its distance from everybody's mean in standard deviations.
LEVELS = (
    (-1.25, "very low"),
    (-0.5, "low"),
    (0.5, "average"),
    (1.25, "high"),
    (np.inf, "very high"),
)
#: A category names a segment when it covers this share of it and is this unusual.
DOMINANT_SHARE = 0.75


@dataclass(frozen=True)
class Segment:
    """One segment: id (0 is the largest), name, size in customers, share of all, mean silhouette."""

    id: int
    name: str
    size: int
    share: float
    silhouette: float | None


def order_by_size(clustering: Clustering) -> Clustering:
    """The same clustering with its centres ordered by falling size (ties: by the centres).

    A rerun, or the same customers in another order, then give the same ids.
    """
    sizes = np.bincount(clustering.labels, minlength=clustering.k)
    order = np.lexsort((*clustering.centers.T[::-1], -sizes))
    return replace(clustering, centers=clustering.centers[order])


def profile(frame: pd.DataFrame, labels: NDArray[np.int32]) -> pd.DataFrame:
    """Every feature of every segment, in the customers' own units.

    Parameters
    ----------
    frame : DataFrame of shape (n, features)
        Clustered and profile columns alike.
    labels : ndarray of shape (n,)
        Segment ids.

    Returns
    -------
    DataFrame
        One row a segment and numeric feature (``mean``, ``median``, ``q25``, ``q75`` in the
        feature's units; ``z``: the segment's mean less everybody's, in standard deviations of
        everybody), and one a segment and category (``category``, ``share``, and ``z`` the
        difference of shares over the standard deviation of belonging to the category).
    """
    rows: list[pd.DataFrame] = []
    for feature in frame.columns:
        values = frame[feature]
        if is_numeric_dtype(values):
            rows.append(_numeric_profile(values.astype(float), labels))
        else:
            rows.append(_category_profile(values.astype(str), labels))
    table = pd.concat(rows, ignore_index=True)
    columns = ["segment", "feature", "category", "mean", "median", "q25", "q75", "share", "z"]
    return table.reindex(columns=columns)


def _numeric_profile(values: pd.Series, labels: NDArray[np.int32]) -> pd.DataFrame:
    groups = values.groupby(labels)
    quartiles = groups.quantile([0.25, 0.5, 0.75]).unstack()
    spread = float(values.std(ddof=0))
    means = groups.mean()
    return pd.DataFrame(
        {
            "segment": means.index,
            "feature": values.name,
            "mean": means.to_numpy(),
            "median": quartiles[0.5].to_numpy(),
            "q25": quartiles[0.25].to_numpy(),
            "q75": quartiles[0.75].to_numpy(),
            "z": (means.to_numpy() - values.mean()) / spread if spread > 0 else 0.0,
        }
    )


def _category_profile(values: pd.Series, labels: NDArray[np.int32]) -> pd.DataFrame:
    shares = pd.crosstab(labels, values.to_numpy(), normalize="index")
    overall = values.value_counts(normalize=True).reindex(shares.columns)
    spread = np.sqrt((overall * (1 - overall)).clip(lower=1e-12))
    long = shares.stack()
    return pd.DataFrame(
        {
            "segment": long.index.get_level_values(0),
            "feature": values.name,
            "category": long.index.get_level_values(1),
            "share": long.to_numpy(),
            "z": ((shares - overall) / spread).stack().to_numpy(),
        }
    )


def name_segments(table: pd.DataFrame, columns: Iterable[str]) -> list[str]:
    """A distinct, deterministic name for each segment from the columns it was clustered on.

    At most two features, those farthest from everybody's mean: "high income, low spending".
    "average" is said only of a segment near the mean in everything. Equal names get a number.

    Parameters
    ----------
    table : DataFrame
        From `profile`.
    columns : iterable of str
        The clustered columns.
    """
    order = {column: position for position, column in enumerate(columns)}
    clustered = table[table["feature"].isin(list(order))]
    ids = sorted(clustered["segment"].unique())
    if len(ids) == 1:
        return ["all customers"]
    names: list[str] = []
    for segment in ids:
        rows = clustered[clustered["segment"] == segment]
        name = ", ".join(_describe(rows, order))
        same = sum(other == name or other.startswith(f"{name} (") for other in names)
        names.append(f"{name} ({same + 1})" if same else name)
    return names


def _describe(rows: pd.DataFrame, order: dict[str, int]) -> list[str]:
    words: list[tuple[bool, float, int, str]] = []
    for row in rows.itertuples():
        position, z = order[str(row.feature)], float(row.z)
        label = str(row.feature).replace("_", " ")
        if isinstance(row.category, str):
            if float(row.share) >= DOMINANT_SHARE and z >= 0.5:
                words.append((False, -round(abs(z), 6), position, f"{label} {row.category}"))
            continue
        level = next(word for limit, word in LEVELS if z <= limit)
        # Rounding keeps the choice of features equal where sums differ in the last bits.
        words.append((level == "average", -round(abs(z), 6), position, f"{level} {label}"))
    chosen = sorted(words)[:2]
    if not chosen:
        return ["mixed"]
    # "average" says something only where nothing else is left to say.
    telling = [word for word in chosen if not word[0]] or chosen
    return [text for *_, text in sorted(telling, key=lambda word: word[2])]
