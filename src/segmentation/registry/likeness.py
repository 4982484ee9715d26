"""When a new segment is the same as one of the champion's, and on what evidence.

A segment is the *same* if all of these hold: most of its customers lie where the champion has seen
customers before, it shares most of those customers with the old segment, and its centre has stayed
near the old one. Nearest centres alone, or shared customers alone, also match segments of unrelated
data; `benchmarks/quality_identity.py` measures how often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from segmentation.evaluation.formats import percent

#: Least share of the new segment's customers in the champion's range.
IN_RANGE = 0.5
#: Least Jaccard similarity of the two segments, of the customers in range.
JACCARD = 0.5
#: Largest distance of the two centres, as a share of the old segment's spacing.
SHIFT = 0.25


@dataclass(frozen=True)
class Likeness:
    """How alike a new segment and one old segment are.

    Attributes
    ----------
    segment : int
        Id of the old segment.
    in_range : float
        Share of the new segment's customers in the champion's range: no farther from their nearest
        old centre than 99 % of that segment's training customers.
    jaccard : float
        Of the customers in range, those in both segments divided by those in either.
    distance : float
        From the old centre to the mean of all customers of the new segment, in the champion's
        scaled space.
    spacing : float
        From the old centre to its nearest neighbour; the radius of an only segment.
    """

    segment: int
    in_range: float
    jaccard: float
    distance: float
    spacing: float

    @property
    def shift(self) -> float:
        """Distance of the centres as a share of the spacing."""
        if self.distance == 0:
            return 0.0
        return self.distance / self.spacing if self.spacing > 0 else float("inf")

    @property
    def same(self) -> bool:
        """Whether all three conditions hold."""
        return self.in_range >= IN_RANGE and self.jaccard >= JACCARD and self.shift <= SHIFT

    def text(self) -> str:
        """Describe the evidence in a clause; what speaks against *same* comes with its limit.

        Examples
        --------
        >>> Likeness(2, in_range=0.98, jaccard=0.4, distance=0.1, spacing=2.0).text()
        '98\xa0% in range, Jaccard 0.40 (needs at least 0.50), centre moved 5\xa0% of the spacing'
        """
        range_, shared, shift = f"{percent(self.in_range)} in range", f"{self.jaccard:.2f}", ""
        if self.in_range < IN_RANGE:
            range_ += f" (needs at least {percent(IN_RANGE)})"
        if self.jaccard < JACCARD:
            shared += f" (needs at least {JACCARD:.2f})"
        if self.shift > SHIFT:
            shift = f" (needs at most {percent(SHIFT)})"
        moved = (
            percent(self.shift) if np.isfinite(self.shift) else "more than 100\N{NO-BREAK SPACE}%"
        )
        return f"{range_}, Jaccard {shared}, centre moved {moved} of the spacing{shift}"


@dataclass(frozen=True)
class Overlap:
    """The same customers in the champion's segments (rows) and the challenger's (columns).

    Attributes
    ----------
    counts : DataFrame of shape (old, k)
        All customers, indexed by old id; the columns are the new cluster indices 0..k-1.
    near : DataFrame of shape (old, k)
        Of these, the customers in the champion's range.
    distances : ndarray of shape (old, k)
        From each old centre to the mean of each new segment, in the champion's scaled space.
    spacing : ndarray of shape (old,)
        See `spacings`.
    """

    counts: pd.DataFrame
    near: pd.DataFrame
    distances: NDArray[np.float64]
    spacing: NDArray[np.float64]

    @property
    def ids(self) -> list[int]:
        """The old segments' ids."""
        return [int(segment) for segment in self.counts.index]

    def likeness(self, row: int, column: int) -> Likeness:
        """Return how alike an old segment and a new one are, by their positions."""
        near = self.near.to_numpy()
        both = int(near[row, column])
        either = int(near[row].sum() + near[:, column].sum()) - both
        size = int(self.counts.to_numpy()[:, column].sum())
        return Likeness(
            segment=self.ids[row],
            in_range=float(near[:, column].sum() / max(size, 1)),
            jaccard=both / max(either, 1),
            distance=float(self.distances[row, column]),
            spacing=float(self.spacing[row]),
        )

    def same(self) -> NDArray[np.bool_]:
        """Return for each old (row) and new segment (column) whether they are the same."""
        rows, columns = self.counts.shape
        return np.array(
            [[self.likeness(i, j).same for j in range(columns)] for i in range(rows)], dtype=bool
        ).reshape(rows, columns)

    def closest(self, column: int) -> Likeness:
        """Return the old segment most like a new one: by Jaccard, then by distance."""
        all_ = [self.likeness(row, column) for row in range(len(self.counts))]
        return max(all_, key=lambda one: (one.jaccard, -one.distance))


def overlap(
    old: NDArray[np.int64],
    in_range: NDArray[np.bool_],
    new: NDArray[np.int64],
    *,
    old_ids: Sequence[int],
    k: int,
    distances: NDArray[np.float64],
    spacing: NDArray[np.float64],
) -> Overlap:
    """Count the customers that went from each old segment to each new cluster.

    Parameters
    ----------
    old : ndarray of shape (n,)
        Segment id of each customer from the champion.
    in_range : ndarray of n bool
        Whether the customer lies in the champion's range.
    new : ndarray of shape (n,)
        New cluster index 0..k-1 of the same customers.
    old_ids : sequence of int
        All old ids, including those without any of these customers.
    k : int
    distances, spacing
        See `Overlap`.
    """
    rows = pd.Index(old_ids).get_indexer(pd.Index(old))

    def count(chosen: NDArray[np.bool_] | slice) -> pd.DataFrame:
        cells = np.bincount(rows[chosen] * k + new[chosen], minlength=len(old_ids) * k)
        return pd.DataFrame(cells.reshape(-1, k), index=list(old_ids), columns=range(k))

    return Overlap(count(slice(None)), count(in_range), distances, spacing)


def spacings(
    centers: NDArray[np.float64], radius: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance of each centre to its nearest neighbour.

    An only segment has no neighbour. Its radius takes the place of the spacing: half of the usual
    spacing is where a segment ends, so this is the stricter reading.

    Parameters
    ----------
    centers : ndarray of shape (k, d)
    radius : sequence of k float
        99th percentile of the training customers' distance to each centre.
    """
    if len(centers) == 1:
        return np.asarray(radius, dtype=np.float64)
    between = cdist(centers, centers)
    np.fill_diagonal(between, np.inf)
    return np.asarray(between.min(axis=1))
