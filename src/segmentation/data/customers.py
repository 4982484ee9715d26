"""Read a customer table, check it and find its ids before anything is computed from it."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from segmentation.data.columns import (
    as_text,
    digest,
    from_pandas,
    parse,
    to_pandas,
)
from segmentation.data.csv_table import read_csv_table, read_typed_csv
from segmentation.data.extra_columns import Others, other_columns
from segmentation.data.files import RawTable, read_parquet_table
from segmentation.data.sources import Select
from segmentation.data.value_checks import check_decimal, check_values, handle_missing
from segmentation.errors import ConfigError, DataError
from segmentation.runtime.blocks import parts

MISSING = ("error", "drop", "median")
ID_NAME = re.compile(r"(?i)^(customer|client|user)?[ _-]?(id|no|number)$")
#: Reading a file with more bytes takes seconds: callers may announce it.
LARGE_BYTES = 1 << 26
#: Name of the ids of a table without an id column.
NUMBERED = "row"
_SAVED_INDEX = ("", "Unnamed: 0")
_SHOWN = 5


@dataclass(frozen=True)
class Customers:
    """A checked customer table.

    Attributes
    ----------
    frame
        Feature columns without the id, `RangeIndex`; numbers are int64 or float64 and finite,
        everything else is text.
    ids
        One unique text per customer, named after the id column, or "row" with 1..n.
    digest
        SHA-256 (hex) of names, ids and values of all rows of all columns in the source, after the
        policy for missing values is applied. It does not depend on which `columns` are kept.
    source
        File name without folders, "demo" or "DataFrame".
    notes
        What the user should know about how the table was read.
    others
        The columns that are not in `frame`: not checked, and used only to describe segments.
    total
        Size of the table that these customers are a sample of; None if they are all of it.
    """

    frame: pd.DataFrame
    ids: pd.Series[str]
    digest: str
    source: str
    notes: tuple[str, ...]
    others: Others = field(default_factory=Others)
    total: int | None = None

    @property
    def population(self) -> int:
        """Number of customers in the table, whether or not these are a sample of it."""
        return len(self.ids) if self.total is None else self.total

    def column(self, name: str) -> pd.Series[Any]:
        """Return a column of `frame`, which is complete, or of `others`, which may have gaps."""
        return self.others.columns[name] if name in self.others.columns else self.frame[name]


def read_csv(
    path: str | Path, *, columns: Sequence[str] | None = None, **options: Any
) -> Customers:
    """Read a CSV file (plain or gzipped) into checked customers.

    Parameters
    ----------
    path
        The file.
    columns
        Columns to check and keep, after renaming; `None` keeps all and checks the numeric ones.
    **options
        As in `open_csv`; errors too.
    """
    return _released(open_csv(path, **options)(columns=columns))


def open_csv(
    path: str | Path,
    *,
    id: str | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    encoding: str | None = None,
    missing: str = "error",
    rename: Mapping[str, str] | None = None,
) -> Select:
    """Read a CSV file (plain or gzipped) once, to select columns from it.

    Parameters
    ----------
    path
        The file.
    id
        Column that identifies the customers; `None` uses a column that looks like an id, else row
        numbers.
    delimiter, encoding
        `None` detects them.
    decimal
        Decimal mark of the numbers, "." or ",".
    missing
        What to do about missing values in the columns used: stop with an "error", "drop" the
        customer, or fill in the column's "median".
    rename
        Column name by header; headers that the file does not have are ignored.

    Raises
    ------
    DataError
        The file or a value in it cannot be used.
    ConfigError
        An option has a value that is not allowed.
    """
    check_decimal(decimal)
    raw = read_typed_csv(
        path,
        delimiter=delimiter,
        encoding=encoding,
        decimal=decimal,
        is_text=partial(_may_be_id, id=id, rename=rename or {}),
    )
    if raw is None:
        raw = read_csv_table(path, delimiter=delimiter, encoding=encoding)
    return partial(_check, raw, id=id, missing=missing, rename=rename, decimal=decimal)


def _released(customers: Customers) -> Customers:
    # Frees the raw columns.
    pa.default_memory_pool().release_unused()
    return customers


def _may_be_id(header: str, *, id: str | None, rename: Mapping[str, str]) -> bool:
    name = header.strip()
    renamed = rename.get(name, name)
    return id in (name, renamed) or ID_NAME.match(renamed) is not None


def read_parquet(
    path: str | Path, *, columns: Sequence[str] | None = None, **options: Any
) -> Customers:
    """Read a Parquet file into checked customers; parameters as in `read_csv`."""
    return _released(open_parquet(path, **options)(columns=columns))


def open_parquet(
    path: str | Path,
    *,
    id: str | None = None,
    missing: str = "error",
    rename: Mapping[str, str] | None = None,
) -> Select:
    """Read a Parquet file once, to select columns from it; parameters as in `open_csv`."""
    return partial(_check, read_parquet_table(path), id=id, missing=missing, rename=rename)


def from_frame(
    frame: pd.DataFrame,
    *,
    id: str | None = None,
    missing: str = "error",
    rename: Mapping[str, str] | None = None,
    columns: Sequence[str] | None = None,
    source: str = "DataFrame",
) -> Customers:
    """Check a DataFrame; parameters and errors as in `open_csv`. A named index becomes a column."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"A pandas DataFrame is needed, not {type(frame).__name__}.")
    if isinstance(frame.columns, pd.MultiIndex):
        raise DataError(f"{source} has several header levels; one is needed.")
    if frame.index.name is not None and frame.index.name not in frame.columns:
        frame = frame.reset_index()
    raw = RawTable(
        names=tuple(str(name) for name in frame.columns),
        columns=tuple(from_pandas(frame.iloc[:, i]) for i in range(frame.shape[1])),
        source=source,
        unit="row",
        number=lambda rows: [row + 1 for row in rows],
    )
    return _check(raw, id, missing, rename, columns)


def require_columns(names: Iterable[str], available: Sequence[str], source: str) -> None:
    """Raise a `DataError` that lists the available columns if one of `names` is missing."""
    for name in names:
        if name not in available:
            near = difflib.get_close_matches(name, available, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(
                f"{source} has no column '{name}'.{hint} Columns: {', '.join(available)}."
            )


def _check(
    raw: RawTable,
    id: str | None,
    missing: str,
    rename: Mapping[str, str] | None,
    columns: Sequence[str] | None = None,
    decimal: str = ".",
) -> Customers:
    """Check a raw table step by step, in the order in which a user should see the messages."""
    if missing not in MISSING:
        raise ConfigError(f"data.missing={missing} is not allowed; use {', '.join(MISSING)}.")
    rename = rename or {}
    raw = _named(raw, rename)
    if not raw.names or not len(raw.columns[0]):
        raise DataError(f"{raw.source} has no customers: at least 2 rows are needed.")
    named = [rename.get(c, c) if c not in raw.names else c for c in columns or ()]
    require_columns(named, raw.names, raw.source)
    if id is not None and id not in raw.names:
        id = rename.get(id, id)
    raw, id_name, ids = _take_ids(raw, id, named)

    table = {n: parse(c, decimal) for n, c in zip(raw.names, raw.columns, strict=True)}
    numeric = [n for n, column in table.items() if column.kind in ("number", "mixed")]
    used = named if columns is not None else numeric
    for name in used:
        check_values(raw, name, table[name], decimal)
    table, keep, notes = handle_missing(raw, table, used, missing)
    if keep is not None:
        ids = ids.filter(keep)
    if len(ids) < 2:
        raise DataError(
            f"{raw.source} has only {len(ids)} customer that can be used; at least 2 are needed."
        )

    # Return the memory that reading needed to the system before the large arrays are made.
    pa.default_memory_pool().release_unused()
    usable = [n for n, column in table.items() if column.kind != "unusable"]
    shown = named if columns is not None else usable
    return Customers(
        # Not copied: millions of customers would be in memory twice.
        frame=pd.DataFrame({n: to_pandas(table[n].values) for n in shown}, copy=False),
        ids=to_pandas(ids).rename(id_name),
        digest=digest([(id_name, ids), *((n, c.values) for n, c in table.items())]),
        source=raw.source,
        notes=(*raw.notes, *notes),
        others=other_columns(table, used),
    )


def _named(raw: RawTable, rename: Mapping[str, str]) -> RawTable:
    """Strip and rename the headers; leave out unnamed columns without useful values."""
    stripped = [name.strip() for name in raw.names]
    keep, notes = [], list(raw.notes)
    for i, name in enumerate(stripped):
        if name and not (i == 0 and name in _SAVED_INDEX):
            keep.append(i)
        elif i == 0 and len(stripped) > 1:
            notes.append("first column has no name: taken for a saved row index and left out")
        elif parse(raw.columns[i]).values.null_count == len(raw.columns[i]):
            notes.append(f"column {i + 1} has no name and no values: left out")
        else:
            raise DataError(f"{raw.source}: column {i + 1} has no name; give it one.")
    names = [rename.get(stripped[i], stripped[i]) for i in keep]
    for name, count in Counter(names).items():
        if count > 1:
            headers = [stripped[i] for i in keep if rename.get(stripped[i], stripped[i]) == name]
            raise DataError(
                f"{raw.source}: {count} columns are called '{name}' "
                f"(headers {', '.join(headers)}); column names must be unique."
            )
    columns = tuple(raw.columns[i] for i in keep)
    return replace(raw, names=tuple(names), columns=columns, notes=tuple(notes))


def _take_ids(
    raw: RawTable, id: str | None, features: Sequence[str]
) -> tuple[RawTable, str, pa.Array]:
    """Separate the ids from the table; without an id column, number the rows from 1."""
    asked, notes = id is not None, list(raw.notes)
    if id is None:
        alike = [n for n in raw.names if ID_NAME.match(n) and n not in features]
        # "number" or "no" may also count something: only unique values are taken for ids
        id = next((n for n in alike if n.lower().endswith("id") or _unique(raw, n)), None)
        if id is None:
            rows = pa.array(np.arange(1, len(raw.columns[0]) + 1)).cast(pa.large_string())
            return (
                replace(raw, notes=(*notes, "no id column: row numbers are the ids")),
                NUMBERED,
                rows,
            )
        notes.append(f"column '{id}' used as id")
    require_columns([id], raw.names, raw.source)
    if id in features:
        raise ConfigError(f"data.id={id} is also one of features.columns; an id is not a feature.")
    position = raw.names.index(id)
    if pa.types.is_nested(kind := raw.columns[position].type) or pa.types.is_binary(kind):
        raise DataError(
            f"{raw.source}, column '{id}' has type {kind}; ids must be text or numbers."
        )
    ids = as_text(raw.columns[position])
    advice = "" if asked else " If another column holds the ids, set data.id."
    if ids.null_count:
        at = raw.places(ids.is_null().to_numpy(zero_copy_only=False))
        raise DataError(
            f"{raw.source}, column '{id}': missing ids ({ids.null_count}: {at}).{advice}"
        )
    if not _all_different(raw.columns[position], ids):
        repeated = to_pandas(ids).duplicated(keep=False).to_numpy()
        rows = np.flatnonzero(repeated)
        values = list(dict.fromkeys(ids.take(pa.array(rows[:100])).to_pylist()))
        raise DataError(
            f"{raw.source}: ids in '{id}' are not unique: {len(rows)} rows share an id "
            f"({', '.join(values[:_SHOWN])}{', ...' if len(values) > _SHOWN else ''}; "
            f"{raw.places(repeated)}). Each customer must have one row.{advice}"
        )
    rest = [i for i in range(len(raw.names)) if i != position]
    table = replace(
        raw,
        names=tuple(raw.names[i] for i in rest),
        columns=tuple(raw.columns[i] for i in rest),
        notes=tuple(notes),
    )
    return table, id, ids


def _all_different(given: pa.Array, text: pa.Array) -> bool:
    """Return whether no id occurs twice.

    Sorting numbers takes a fifth of the memory of a table of texts.
    """
    if pa.types.is_integer(given.type):
        numbers = given.to_numpy(zero_copy_only=False)
    else:
        numbers = np.empty(len(text), np.uint64)
        for part in parts(len(text)):
            some = text[part].to_numpy(zero_copy_only=False)
            numbers[part] = pd.util.hash_array(some, categorize=False)
    ordered = np.sort(numbers)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return True
    # Equal numbers are equal ids; equal hashes are most likely equal ids.
    alike = text.take(pa.array(np.flatnonzero(np.isin(numbers, repeated))))
    return bool(pc.count_distinct(alike).as_py() == len(alike))


def _unique(raw: RawTable, name: str) -> bool:
    text = as_text(raw.columns[raw.names.index(name)])
    return text.null_count == 0 and len(pc.unique(text)) == len(text)
