"""A partition as a short text: the segments of up to 2,000 customers, one character each.

It fits into a run's tag, so that runs can be compared without their artifacts.
"""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from segmentation.runtime.blocks import parts

#: Number of customers kept. MLflow allows 8,000 characters in a tag.
KEPT = 2_000
#: One character per segment; with more segments there is no text.
ALPHABET = string.digits + string.ascii_letters + "-_"
_KEY_LENGTH = 8
#: The code of each byte; 255 if it stands for no segment.
_CODES = np.full(256, 255, np.uint8)
_CODES[np.frombuffer(ALPHABET.encode(), np.uint8)] = np.arange(len(ALPHABET))


@dataclass(frozen=True)
class Partition:
    """The segments of some customers, as read from a text.

    Attributes
    ----------
    key : str
        Equal keys mean the same customers in the same order.
    labels : ndarray of shape (n,), uint8
        Numbered in the order of their first appearance, so that equal partitions have equal
        labels.
    """

    key: str
    labels: NDArray[np.uint8]


def encode(ids: pd.Series[str], labels: NDArray[np.int32]) -> str | None:
    """Write the segments of the customers with the smallest hashes of their ids, in that order.

    Parameters
    ----------
    ids : Series of str
        Unique.
    labels : ndarray of shape (n,)
        Segment of each customer, from 0.

    Returns
    -------
    str or None
        A key of the customers kept and, after a colon, one character per customer. None if there
        are more segments than characters in `ALPHABET`.

    Examples
    --------
    >>> encode(pd.Series(["a", "b", "c"]), np.array([0, 0, 1]))
    '7d0a2c72:100'
    """
    if labels.max(initial=0) >= len(ALPHABET):
        return None
    rows = _first_by_hash(ids)
    kept = "\n".join([str(len(ids)), *ids.iloc[rows]])
    key = hashlib.sha256(kept.encode()).hexdigest()[:_KEY_LENGTH]
    return f"{key}:{''.join(ALPHABET[label] for label in labels[rows])}"


def decode(text: object) -> Partition | None:
    """Read what `encode` has written; None if it is anything else."""
    found = segments_of(text)
    return None if found is None else Partition(found[0], _in_order_of_appearance(found[1]))


def segments_of(text: object) -> tuple[str, NDArray[np.uint8]] | None:
    """Return the key and the segment ids that `encode` has written; None if it is anything else.

    Examples
    --------
    >>> segments_of("7d0a2c72:100")
    ('7d0a2c72', array([1, 0, 0], dtype=uint8))
    """
    if not isinstance(text, str):
        return None
    key, colon, characters = text.partition(":")
    codes = _CODES[np.frombuffer(characters.encode("ascii", "replace"), np.uint8)]
    if not colon or not len(codes) or codes.max() >= len(ALPHABET):
        return None
    return key, codes


def _first_by_hash(ids: pd.Series[str]) -> NDArray[np.intp]:
    """Return the positions of the ids with the smallest hashes, ordered by hash."""
    rows, hashes = np.empty(0, np.intp), np.empty(0, np.uint64)
    for part in parts(len(ids)):
        some = ids.iloc[part].to_numpy(dtype=object)
        hashes = np.concatenate([hashes, pd.util.hash_array(some, categorize=False)])
        rows = np.concatenate([rows, np.arange(part.start, part.stop)])
        if len(rows) > KEPT:
            first = np.argpartition(hashes, KEPT - 1)[:KEPT]
            rows, hashes = rows[first], hashes[first]
    order: NDArray[np.intp] = rows[np.lexsort([rows, hashes])]
    return order


def _in_order_of_appearance(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    first = np.full(len(ALPHABET), len(codes))
    # Of several assignments to one place the last one holds: the first appearance.
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    number = np.empty(len(ALPHABET), np.uint8)
    number[first.argsort(kind="stable")] = np.arange(len(ALPHABET))
    labels: NDArray[np.uint8] = number[codes]
    return labels
