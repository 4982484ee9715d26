"""Give the segments of a new segmentation their ids, and say what became of the old ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from segmentation.registry.likeness import Likeness, Overlap

#: A segment went into another, or is part of another, if most of its customers did or are.
MOST = 0.5


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
    closest : Likeness or None
        The old segment most like a new one: the evidence for or against *same*. None where nothing
        could be compared, and for a segment that ended.
    kept : bool
        Whether it has the id of the segment `closest`.
    """

    segment: int
    lineage: str
    was: tuple[int, ...]
    closest: Likeness | None = None
    kept: bool = False

    @property
    def evidence(self) -> str:
        """Why it has the old id or, if there is an old segment to compare it with, why not."""
        if self.closest is None:
            return ""
        text = self.closest.text()
        return text if self.kept else f"not {self.closest.segment}: {text}"

    def record(self) -> dict[str, Any]:
        """Return what the version's tag ``lineage`` says, as JSON types."""
        record: dict[str, Any] = {
            "segment": self.segment,
            "lineage": self.lineage,
            "was": list(self.was),
        }
        if self.closest is not None:
            numbers = asdict(self.closest)
            record["closest"] = {
                key: value if isinstance(value, int) else round(value, 4)
                for key, value in numbers.items()
            }
        return record


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


def match(overlap: Overlap, *, used: int, earlier: Mapping[int, int] | None = None) -> Lineage:
    """Give each new segment the id of the old segment that it is the same as, or a new id.

    Where several pairs are possible, as many customers as possible keep their id (Kuhn 1955, Nav.
    Res. Logist. Q. 2). *Split* and *merged* count only customers in the champion's range.

    Parameters
    ----------
    overlap : Overlap
    used : int
        Ids below this one may have been used before and are not given to new segments.
    earlier : mapping of int to int, optional
        Ids of the new clusters in an earlier promotion of the same model; an unmatched cluster
        gets its earlier id back, unless one of the champion's segments has it.
    """
    table = overlap.near.to_numpy(dtype=float)
    sizes = overlap.counts.to_numpy(dtype=float).sum(axis=0)
    same = overlap.same()
    rows, columns = linear_sum_assignment(-table * same)
    pairs = {int(j): int(i) for i, j in zip(rows, columns, strict=True) if same[i, j]}
    ids, next_id = _ids(overlap.ids, table.shape[1], pairs, used, earlier or {})
    to_new = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    from_old = table / np.maximum(sizes, 1)
    return _lineage(overlap, ids, next_id, pairs, to_new, from_old)


def all_new(
    old_ids: Sequence[int], k: int, *, used: int, earlier: Mapping[int, int] | None = None
) -> Lineage:
    """Return the lineage if the champion cannot label the customers: every segment is new.

    Parameters
    ----------
    old_ids : sequence of int
        Ids of the champion's segments; all of them end.
    k : int
        Number of new segments.
    used, earlier
        See `match`.
    """
    ids, next_id = _ids(old_ids, k, {}, used, earlier or {})
    fates = [Fate(segment, "new", ()) for segment in ids]
    fates += [Fate(int(segment), "gone", ()) for segment in old_ids]
    return Lineage(ids, tuple(fates), tuple(int(segment) for segment in old_ids), next_id)


def unchanged(ids: Sequence[int]) -> Lineage:
    """Return the lineage of a first champion: every segment is new and keeps its id."""
    return Lineage(
        ids=tuple(ids),
        fates=tuple(Fate(segment, "new", ()) for segment in ids),
        retired=(),
        next_id=max(ids) + 1,
    )


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
    overlap: Overlap,
    ids: tuple[int, ...],
    next_id: int,
    pairs: Mapping[int, int],
    to_new: NDArray[np.float64],
    from_old: NDArray[np.float64],
) -> Lineage:
    old_ids, fates = overlap.ids, []
    part_of = from_old >= MOST
    for j, i in pairs.items():
        # A segment that keeps its id is not part of another, whatever customers it gained.
        part_of[:, j] &= np.arange(len(old_ids)) == i
    parts = part_of.sum(axis=1)
    went = to_new >= MOST
    # Customers out of range come from nowhere: without the second condition, a segment of
    # strangers would be called merged for the few customers of each old segment that it holds.
    merged = (went.sum(axis=0) >= 2) & ((from_old * went).sum(axis=0) >= MOST)
    for j, segment in enumerate(ids):
        lineage, was = "new", tuple[int, ...]()
        origin = np.flatnonzero(part_of[:, j])
        if merged[j]:
            lineage, was = "merged", tuple(old_ids[int(i)] for i in np.flatnonzero(went[:, j]))
        elif len(origin) and parts[origin[0]] >= 2:
            lineage, was = "split", (old_ids[int(origin[0])],)
        elif j in pairs:
            lineage, was = "same", (old_ids[pairs[j]],)
        kept = j in pairs
        closest = overlap.likeness(pairs[j], j) if kept else overlap.closest(j)
        fates.append(Fate(segment, lineage, was, closest, kept))
    retired = []
    for i, segment in enumerate(old_ids):
        if segment in ids:
            continue
        retired.append(segment)
        into = tuple(ids[j] for j in np.flatnonzero(went[i] & merged))
        fates.append(Fate(segment, "merged" if into else "gone", into))
    return Lineage(ids=ids, fates=tuple(fates), retired=tuple(retired), next_id=next_id)
