"""Columns that are not clustered on but may describe segments.

They never stop a run: they are not checked, and no customer is dropped and no value filled in
because of them. A column that cannot describe a segment is left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from segmentation.data.columns import Column, to_pandas

#: A text column with more distinct values identifies customers rather than describing them.
MOST_VALUES = 1000
#: Sums of squares of larger numbers overflow float64.
LARGEST = 1e150
# Enough rows to tell a column of names from one of categories.
_FIRST_ROWS = 20_000


@dataclass(frozen=True)
class Others:
    """The columns of a table that are not clustered on.

    Attributes
    ----------
    columns
        By name, one value per customer: numbers (NaN for missing) or categories (sorted; values
        may be missing).
    left_out
        By name, why each of the other columns cannot describe a segment.
    """

    columns: Mapping[str, pd.Series[Any]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def other_columns(table: Mapping[str, Column], clustered: Collection[str]) -> Others:
    """Return the columns that can describe segments, and why the others cannot.

    Parameters
    ----------
    table
        Every column of the customers, by name.
    clustered
        Columns that are clustered on; they are checked elsewhere.
    """
    columns: dict[str, pd.Series[Any]] = {}
    left_out: dict[str, str] = {}
    for name, column in table.items():
        if name not in clustered:
            found = _numbers(column.values) if column.kind == "number" else _categories(column)
            if isinstance(found, str):
                left_out[name] = found
            else:
                columns[name] = found
    return Others(columns, left_out)


def _numbers(values: pa.Array) -> pd.Series[Any] | str:
    if values.null_count == len(values):
        return "empty"
    ends = pc.min_max(values).as_py()
    if not max(abs(ends["min"]), abs(ends["max"])) <= LARGEST:
        return "infinite or too large numbers"
    return "always the same" if ends["min"] == ends["max"] else to_pandas(values)


def _categories(column: Column) -> pd.Series[Any] | str:
    if column.kind == "unusable":
        return "neither numbers nor text"
    if column.kind == "mixed":
        return "numbers with mistakes in them"
    values = column.values
    if values.null_count == len(values):
        return "empty"
    for rows in (values.slice(0, _FIRST_ROWS), values):
        coded = rows.dictionary_encode()
        if len(coded.dictionary) > MOST_VALUES:
            return f"more than {MOST_VALUES:,} different texts"
    if len(coded.dictionary) < 2:
        return "always the same"
    order = np.asarray(pc.sort_indices(coded.dictionary))
    place = np.empty(len(order), dtype=np.int16)
    place[order] = np.arange(len(order))
    codes = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    return pd.Series(
        pd.Categorical.from_codes(
            np.where(codes < 0, np.int16(-1), place[codes]),
            categories=coded.dictionary.take(pa.array(order)).to_pylist(),
        )
    )
