"""Distinct answers: runs that divide the customers alike are one answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from segmentation.evaluation.partition import Partition, decode
from segmentation.evaluation.stability import adjusted_rand

#: Partitions with at least this adjusted Rand index are one answer.
SAME = 0.99
#: Pairs of customers that screen partitions before the index is computed.
_SCREENED_PAIRS = 500
_BLOCK = 256


def openers(texts: Sequence[object]) -> list[int]:
    """Return for each run the position of the run that opens its answer, possibly its own.

    Each run joins the first answer above it whose opener has an adjusted Rand index of at least
    0.99 with it, on the customers in the tag ``partition``. Runs without the tag stand alone.

    Parameters
    ----------
    texts : sequence
        The tags ``partition`` of runs on the same data, best run first; anything that is not text
        counts as missing.

    Examples
    --------
    >>> openers(["c:0011", "c:0123", "c:1100", None])
    [0, 1, 0, 3]
    """
    opener = list(range(len(texts)))
    read: dict[str, Partition | None] = {}
    first_with: dict[tuple[str, bytes], int] = {}
    # By the number of customers, too: a tag that somebody has cut off keeps its key.
    distinct: dict[tuple[str, int], list[int]] = defaultdict(list)
    partitions = []
    for place, text in enumerate(texts):
        partition = None
        if isinstance(text, str):
            if text not in read:
                read[text] = decode(text)
            partition = read[text]
        partitions.append(partition)
        if partition is not None:
            same = partition.key, partition.labels.tobytes()
            opener[place] = first_with.setdefault(same, place)
            if opener[place] == place:
                distinct[partition.key, len(partition.labels)].append(place)
    leader = list(range(len(texts)))
    for places in distinct.values():
        labels = np.array([each.labels for p in places if (each := partitions[p]) is not None])
        for place, first in zip(places, _leaders(labels), strict=True):
            leader[place] = places[first]
    return [leader[place] for place in opener]


def _leaders(labels: NDArray[np.uint8]) -> list[int]:
    """Return for each row of labels (r, n) the first leader above that it agrees with, or itself.

    All pairs of rows would take minutes for thousands of runs. So rows are first compared on five
    hundred pairs of customers: are the two in the same segment? An adjusted Rand index A means
    that the share of all pairs on which two partitions differ is ``(1 - A) (1 - E)``, E being the
    share expected to agree by chance. A row that differs on many more of these pairs cannot
    reach the index.
    """
    together = _co_membership(labels)
    pairs = together.sum(axis=1)
    allowed = (1 - SAME) * together.shape[1]
    # Six standard deviations of the number of differing pairs in a sample of pairs.
    allowed += 6 * np.sqrt(allowed)
    leader = np.arange(len(labels))
    leads = np.zeros(len(labels), bool)
    for start in range(0, len(labels), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(labels)))
        both = together[block] @ together[: block.stop].T
        differing = pairs[block, None] + pairs[None, : block.stop] - 2 * both
        for row, near in zip(range(block.start, block.stop), differing <= allowed, strict=True):
            candidates = np.flatnonzero(near[:row] & leads[:row])
            found = next(_agreeing(labels, row, candidates), None) if len(candidates) else None
            leads[row] = found is None
            leader[row] = row if found is None else found
    return leader.tolist()


def _co_membership(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return which of a fixed list of customer pairs are together, shape (r, pairs), 0 or 1.

    Customers come in the order of their hashes, so neighbours are random pairs.
    """
    n = labels.shape[1]
    columns = []
    for shift in range(1, n // 2 + 1):
        columns.append(labels == np.roll(labels, shift, axis=1))
        if shift * n >= _SCREENED_PAIRS:
            break
    together = np.hstack(columns) if columns else np.ones((len(labels), 1), bool)
    return together[:, :_SCREENED_PAIRS].astype(np.float32)


def _agreeing(labels: NDArray[np.uint8], row: int, candidates: NDArray[np.intp]) -> Iterator[int]:
    """Yield the candidates that agree with the row, in order."""
    own = labels[row].astype(np.intp)
    for part in np.array_split(candidates, range(8, len(candidates), 64)):
        others = labels[part].astype(np.intp)
        k = int(max(own.max(), others.max(initial=0))) + 1
        scores = adjusted_rand(np.broadcast_to(own, others.shape), others, k)
        yield from part[scores >= SAME].tolist()
