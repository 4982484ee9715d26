"""Match a new segmentation to an old one, so that segments keep their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

#: Two segments are related if most customers of one of them are in the other.
MOST = 0.5
#: They are the same segment if they also share this part of the customers in either (Jaccard): half
#: of a small segment inside a large one does not make the large one its successor.
SHARED = 1 / 3


@dataclass(frozen=True)
class Fate:
    """What happened to one segment.

    Attributes
    ----------
    segment : int
        Its id; for a segment that ended, its former id.
    lineage : {"same", "split", "merged", "new", "gone"}
        ``split``: part of a segment that was divided; ``merged``: a segment with most of several
        old segments, or an old segment most of which went into one.
    was : tuple of int
        Old ids it comes from; for a segment that ended, the new ids its customers went to.
    """

    segment: int
    lineage: str
    was: tuple[int, ...]


@dataclass(frozen=True)
class Lineage:
    """Ids of the new segments and where each comes from.

    Attributes
    ----------
    ids : tuple of int
        Segment id of each new cluster index.
    fates : tuple of Fate
        One per new segment, in the order of `ids`, then one per old segment whose id ended.
    retired : tuple of int
        Old ids that no new segment has.
    next_id : int
        The smallest id that has never been used.
    """

    ids: tuple[int, ...]
    fates: tuple[Fate, ...]
    retired: tuple[int, ...]
    next_id: int


def overlap(
    old: NDArray[np.int64], new: NDArray[np.int64], old_ids: Sequence[int], k: int
) -> pd.DataFrame:
    """Count the customers that went from each old segment to each new cluster.

    Parameters
    ----------
    old : ndarray of shape (n,)
        Old segment id of each customer.
    new : ndarray of shape (n,)
        New cluster index 0..k-1 of the same customers.
    old_ids : sequence of int
        All old ids, including those without any of these customers.
    k : int

    Returns
    -------
    DataFrame of shape (len(old_ids), k)
        Counts, indexed by old id; the columns are the new cluster indices.
    """
    rows = pd.Index(old_ids).get_indexer(pd.Index(old))
    counts = np.bincount(rows * k + new, minlength=len(old_ids) * k).reshape(-1, k)
    return pd.DataFrame(counts, index=list(old_ids), columns=range(k))


def match_customers(
    counts: pd.DataFrame, *, used: int, earlier: Mapping[int, int] | None = None
) -> Lineage:
    """Match segments by shared customers, so that as many customers as possible keep their id.

    The assignment is optimal (Kuhn 1955, Nav. Res. Logist. Q. 2). A pair counts only if most
    customers of one of the two segments are in the other and the two share a third of all customers
    in either. Otherwise the id of a dissolved segment could go to unrelated customers.

    Parameters
    ----------
    counts : DataFrame
        From `overlap`.
    used : int
        Ids below this one may have been used before and are not given to new segments.
    earlier : mapping of int to int, optional
        Ids of the new clusters in an earlier promotion; an unmatched cluster gets its earlier id
        back.
    """
    table = counts.to_numpy(dtype=float)
    to_new = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    from_old = table / np.maximum(table.sum(axis=0, keepdims=True), 1)
    rows, columns = linear_sum_assignment(-table)
    both = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    related = ((to_new >= MOST) | (from_old >= MOST)) & (table >= SHARED * np.maximum(both, 1))
    pairs = {int(j): int(i) for i, j in zip(rows, columns, strict=True) if related[i, j]}
    ids, next_id = _ids(counts.index.to_list(), table.shape[1], pairs, used, earlier or {})
    return _lineage(counts.index.to_list(), ids, next_id, pairs, to_new, from_old)


def match_centers(
    old: pd.DataFrame, new: pd.DataFrame, *, used: int, earlier: Mapping[int, int] | None = None
) -> Lineage:
    """Match by the segments' means in the customers' own units, if no customer has both labels.

    Each column is divided by its standard deviation over all means. The assignment minimises the
    sum of distances; a pair counts if one of the two is the other's nearest.

    Parameters
    ----------
    old : DataFrame
        One row per old segment, indexed by id; from `means`.
    new : DataFrame
        One row per new cluster, indexed 0..k-1; only columns in both are compared.
    used, earlier
        See `match_customers`.
    """
    shared = [column for column in old.columns if column in new.columns]
    pairs: dict[int, int] = {}
    if shared:
        both = pd.concat([old[shared], new[shared]]).to_numpy(dtype=float)
        spread = both.std(axis=0)
        both = both / np.where(spread > 0, spread, 1.0)
        distances = cdist(both[: len(old)], both[len(old) :])
        nearest = distances <= distances.min(axis=1, keepdims=True)
        nearest |= distances <= distances.min(axis=0, keepdims=True)
        rows, columns = linear_sum_assignment(distances)
        pairs = {int(j): int(i) for i, j in zip(rows, columns, strict=True) if nearest[i, j]}
    old_ids = old.index.to_list()
    ids, next_id = _ids(old_ids, len(new), pairs, used, earlier or {})
    nothing = np.zeros((len(old), len(new)))
    return _lineage(old_ids, ids, next_id, pairs, nothing, nothing)


def unchanged(ids: Sequence[int]) -> Lineage:
    """Return the lineage of a first champion: every segment is new and keeps its id."""
    return Lineage(
        ids=tuple(ids),
        fates=tuple(Fate(segment, "new", ()) for segment in ids),
        retired=(),
        next_id=max(ids) + 1,
    )


def means(profile: pd.DataFrame, ids: Sequence[int]) -> pd.DataFrame:
    """Return the means and category shares of each segment, in the customers' own units.

    Parameters
    ----------
    profile : DataFrame
        From `segmentation.profiling.profiles.profile`; its segments are 0..k-1.
    ids : sequence of int
        Segment id of each of these segments.
    """
    names = profile["feature"].astype(str)
    named = profile["category"].notna()
    column = names.where(~named, names + "=" + profile["category"].astype(str))
    value = profile["mean"].where(~named, profile["share"]).astype(float)
    wide = pd.DataFrame({"segment": profile["segment"], "column": column, "value": value})
    table = wide.pivot(index="segment", columns="column", values="value").fillna(0.0)
    return table.rename(index=dict(enumerate(ids)))


def moved(counts: pd.DataFrame, ids: Sequence[int]) -> float:
    """Compute the share of the customers whose segment id changes."""
    table = counts.to_numpy()
    stays = np.equal.outer(counts.index.to_numpy(), np.asarray(ids))
    return float(1 - table[stays].sum() / max(table.sum(), 1))


def keep_names(
    ids: Sequence[int], names: Sequence[str], old_names: Mapping[int, str]
) -> tuple[str, ...]:
    """Return names of the new segments: a kept id keeps its name; a new id gets a unique name."""
    kept: list[str] = []
    for segment, name in zip(ids, names, strict=True):
        if segment in old_names:
            kept.append(old_names[segment])
            continue
        taken = {*kept, *(old_names[other] for other in ids if other in old_names)}
        number, candidate = 1, name
        while candidate in taken:
            number += 1
            candidate = f"{name} ({number})"
        kept.append(candidate)
    return tuple(kept)


def _ids(
    old_ids: Sequence[int], k: int, pairs: Mapping[int, int], used: int, earlier: Mapping[int, int]
) -> tuple[tuple[int, ...], int]:
    """Return the id of each new cluster and the next free id."""
    ids: list[int] = []
    fresh = max([used, *(segment + 1 for segment in old_ids)])
    for j in range(k):
        if j in pairs:
            ids.append(int(old_ids[pairs[j]]))
        elif j in earlier and earlier[j] not in old_ids:
            ids.append(earlier[j])
        else:
            ids.append(fresh)
            fresh += 1
    return tuple(ids), fresh


def _lineage(
    old_ids: Sequence[int],
    ids: tuple[int, ...],
    next_id: int,
    pairs: Mapping[int, int],
    to_new: NDArray[np.float64],
    from_old: NDArray[np.float64],
) -> Lineage:
    fates = []
    part_of = from_old >= MOST
    for j, i in pairs.items():
        # A segment that keeps its id is not part of another, whatever customers it gained.
        part_of[:, j] &= np.arange(len(old_ids)) == i
    parts = part_of.sum(axis=1)
    merged = (to_new >= MOST).sum(axis=0) >= 2
    for j, segment in enumerate(ids):
        sources = np.flatnonzero(to_new[:, j] >= MOST)
        origin = np.flatnonzero(part_of[:, j])
        if merged[j]:
            fates.append(Fate(segment, "merged", tuple(int(old_ids[int(i)]) for i in sources)))
        elif len(origin) and parts[origin[0]] >= 2:
            fates.append(Fate(segment, "split", (int(old_ids[int(origin[0])]),)))
        elif j in pairs:
            fates.append(Fate(segment, "same", (int(old_ids[pairs[j]]),)))
        else:
            fates.append(Fate(segment, "new", ()))
    retired = []
    for i, segment in enumerate(old_ids):
        if segment in ids:
            continue
        retired.append(int(segment))
        heirs = np.flatnonzero(to_new[i] >= MOST)
        into = tuple(ids[j] for j in heirs if merged[j])
        fates.append(Fate(int(segment), "merged" if into else "gone", into))
    return Lineage(ids=ids, fates=tuple(fates), retired=tuple(retired), next_id=next_id)
