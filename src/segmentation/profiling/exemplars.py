"""Customers worth looking at: those typical of a segment and those on its border."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: A customer with a lower silhouette is about as close to another segment as to its own.
BORDERLINE = 0.1
#: Customers per segment shown besides the medoid, and customers shown on the border.
SHOWN = 5


def typical_customers(
    labels: NDArray[np.int32],
    distances: NDArray[np.float64],
    silhouettes: pd.DataFrame,
    ids: pd.Series,
) -> pd.DataFrame:
    """Return the medoid of each segment, five typical customers and five on its border.

    The medoid is the customer with the smallest sum of squared distances to the others in the
    segment. That customer is also the nearest to the centre, since the sum equals n times the
    squared distance to the mean plus a constant. Typical customers are the next nearest to the
    centre; customers on the border have the lowest silhouettes.

    Parameters
    ----------
    labels : ndarray of shape (n,)
        Segment ids.
    distances : ndarray of shape (n,)
        Distances to the centre of the customer's own segment.
    silhouettes : DataFrame
        Columns ``row``, ``segment``, ``silhouette`` of the (sampled) customers.
    ids : Series of str, length n
        Break ties, so that the result does not depend on the order of the file.

    Returns
    -------
    DataFrame
        Columns ``segment``, ``kind`` (``medoid``, ``typical`` or ``borderline``), ``row``
        (position of the customer), ``distance``, ``silhouette`` (NaN where not measured), in
        order: medoid, typical by distance, borderline by silhouette.
    """
    silhouette = np.full(len(labels), np.nan)
    silhouette[silhouettes["row"].to_numpy()] = silhouettes["silhouette"].to_numpy()
    chosen: list[tuple[int, str, int]] = []
    for segment in range(int(labels.max()) + 1):
        own = np.flatnonzero(labels == segment)
        nearest = _lowest(own, distances, ids, SHOWN + 1)
        chosen += [
            (segment, "typical" if rank else "medoid", row) for rank, row in enumerate(nearest)
        ]
        between = own[silhouette[own] < BORDERLINE]
        chosen += [(segment, "borderline", row) for row in _lowest(between, silhouette, ids, SHOWN)]
    table = pd.DataFrame(chosen, columns=["segment", "kind", "row"])
    rows = table["row"].to_numpy(dtype=np.intp)
    return table.assign(distance=distances[rows], silhouette=silhouette[rows])


def _lowest(
    rows: NDArray[np.intp], by: NDArray[np.float64], ids: pd.Series, count: int
) -> list[int]:
    """Return the `count` rows with the lowest `by`, breaking ties by id."""
    values = np.round(by[rows], 9)
    if len(rows) > count:
        near = values <= np.partition(values, count - 1)[count - 1]
        rows, values = rows[near], values[near]
    ranked = sorted(zip(values.tolist(), ids.iloc[rows].tolist(), rows.tolist(), strict=True))
    return [row for *_, row in ranked[:count]]
