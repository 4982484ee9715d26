"""Convert raw columns to one of three Arrow types: int64, float64 or text, null for missing."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

# The texts that pandas also reads as missing (except Windows' old "1.#IND"), so that a file means
# the same here and in a notebook.
_MISSING_TEXTS = pa.array(
    ["", "#N/A", "#NA", "<NA>", "N/A", "NA", "NAN", "NULL", "NaN", "None", "n/a", "nan", "null"],
    pa.large_string(),
)
_INFINITE = r"|^[+-]?(inf|Inf|INF)(inity|INITY)?$"
_WHOLE = r"^[+-]?[0-9]{1,18}$"  # more digits may overflow int64
_BOOLEAN = r"^(true|True|TRUE|false|False|FALSE)$"
_NUMBER = {
    ".": r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$" + _INFINITE,
    ",": r"^[+-]?([0-9]+,?[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?$" + _INFINITE,
}
# Numbers as people also write them: currency, thousands separators, percent, either decimal mark.
_WRITTEN = "|".join(
    [
        r"^[+-]?[$€£¥]? ?([0-9]+|[0-9]{1,3}([,.' ][0-9]{3})+)([.,][0-9]+)? ?[$€£¥%]?$",
        *_NUMBER.values(),
    ]
)

Kind = Literal["number", "text", "mixed", "unusable"]


@dataclass(frozen=True)
class Column:
    """A column's `values`, with null for missing, and their `kind`.

    "mixed" is text where at least half of the values look like numbers: a numeric column with
    mistakes.
    """

    values: pa.Array
    kind: Kind


def parse(raw: pa.Array, decimal: str = ".") -> Column:
    """Convert a raw column; text that holds only numbers becomes numbers.

    Parameters
    ----------
    raw
        (n,) array of any Arrow type.
    decimal
        Decimal mark of numbers written as text, "." or ",".
    """
    kind = raw.type
    if pa.types.is_dictionary(kind):
        return parse(raw.dictionary_decode(), decimal)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        try:
            return Column(raw.cast(pa.int64()), "number")
        except pa.ArrowInvalid:  # uint64 beyond int64
            return Column(raw.cast(pa.float64(), safe=False), "number")
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        number = raw.cast(pa.float64(), safe=False)
        missing = pc.is_nan(number)
        if pc.any(missing).as_py():
            number = pc.if_else(missing, None, number)
        return Column(number, "number")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _parse_text(raw.cast(pa.large_string()), decimal)
    if pa.types.is_temporal(kind) or pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return Column(raw.cast(pa.large_string()), "text")
    return Column(pa.nulls(len(raw), pa.large_string()), "unusable")


def _parse_text(text: pa.Array, decimal: str) -> Column:
    text = _without_missing_texts(pc.utf8_trim_whitespace(text))
    present = len(text) - text.null_count
    if present == 0:
        return Column(text, "text")
    # Patterns first: a failing cast is many times slower, and would accept "0x1F" as a number.
    if _count(pc.match_substring_regex(text, _NUMBER[decimal])) == present:
        plain = text if decimal == "." else pc.replace_substring(text, ",", ".")
        whole = _count(pc.match_substring_regex(text, _WHOLE)) == present
        if whole:  # Arrow accepts a plus sign in floats but not in integers
            return Column(pc.ascii_ltrim(plain, "+").cast(pa.int64()), "number")
        return Column(plain.cast(pa.float64()), "number")
    if _count(pc.match_substring_regex(text, _BOOLEAN)) == present:
        return Column(pc.starts_with(text, "t", ignore_case=True).cast(pa.int64()), "number")
    written = _count(pc.match_substring_regex(text, _WRITTEN))
    return Column(text, "mixed" if 2 * written >= present else "text")


def not_numbers(text: pa.Array, decimal: str) -> tuple[npt.NDArray[np.int64], bool]:
    """Find the texts that are not numbers, and whether the other decimal mark explains them all.

    Parameters
    ----------
    text
        (n,) values of a "mixed" column.
    decimal
        The decimal mark set by the user.

    Returns
    -------
    Positions of the texts, and whether all of them are numbers with the other decimal mark.
    """
    other = "," if decimal == "." else "."
    good = pc.fill_null(pc.match_substring_regex(text, _NUMBER[decimal]), True)
    explained = pc.fill_null(pc.match_substring_regex(text, _NUMBER[other]), True)
    bad = np.flatnonzero(~good.to_numpy(zero_copy_only=False))
    return bad, bool(explained.take(pa.array(bad)).to_numpy(zero_copy_only=False).all())


def as_text(raw: pa.Array) -> pa.Array:
    """Convert a raw id column to text: "0001" stays as it is, whole floats lose their ".0"."""
    if pa.types.is_dictionary(raw.type):
        raw = raw.dictionary_decode()
    if pa.types.is_floating(raw.type):
        raw = parse(raw).values
        with contextlib.suppress(pa.ArrowInvalid):
            raw = raw.cast(pa.int64())
    text = pc.utf8_trim_whitespace(raw.cast(pa.large_string()))
    return _without_missing_texts(text)


def from_pandas(series: pd.Series[Any]) -> pa.Array:
    """Convert a pandas column to an Arrow array; objects of mixed types become text."""
    try:
        array = pa.Array.from_pandas(series)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        texts = [
            None if missing else str(x) for x, missing in zip(series, series.isna(), strict=True)
        ]
        array = pa.array(texts, pa.large_string())
    return _one_chunk(array)


def to_pandas(values: pa.Array) -> pd.Series[Any]:
    """Convert a typed array to a pandas column: int64, float64 or text."""
    if pa.types.is_large_string(values.type):
        return pd.Series(values.to_pandas(), dtype="str" if values.null_count == 0 else None)
    # Shares memory, so that millions of customers are not copied.
    return pd.Series(values.to_numpy(zero_copy_only=False), copy=False)


def digest(columns: Iterable[tuple[str, pa.Array]]) -> str:
    """Return the SHA-256 of names, types, validity and values; whole buffers are hashed at once."""
    sha = hashlib.sha256()
    for name, values in columns:
        sha.update(f"{len(name)}:{name}:{values.type}:{len(values)}:".encode())
        if values.null_count:
            sha.update(np.packbits(values.is_null().to_numpy(zero_copy_only=False)).tobytes())
        if pa.types.is_large_string(values.type):
            text = pc.fill_null(values, "")
            sha.update(pc.binary_length(text).to_numpy().data)
            start, stop = (
                np.frombuffer(text.buffers()[1], np.int64)[[text.offset, text.offset + len(text)]]
                if len(text)
                else (0, 0)
            )
            if stop > start:
                sha.update(memoryview(text.buffers()[2])[int(start) : int(stop)])
        else:
            sha.update(pc.fill_null(values, 0).to_numpy().data)
    return sha.hexdigest()


def _one_chunk(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _without_missing_texts(text: pa.Array) -> pa.Array:
    missing = pc.is_in(text, value_set=_MISSING_TEXTS)
    return pc.if_else(missing, None, text) if pc.any(missing).as_py() else text


def _count(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)
