"""Read a text file into one table by joining the chunks of its stream.

Columns are kept as text or, to save memory, parsed chunk by chunk with the rules for whole columns.
If chunks disagree on the type of a column, the whole column has to be read as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa

from segmentation.data.columns import parse
from segmentation.data.csv_dialect import shown
from segmentation.data.files import RawTable
from segmentation.data.streaming import CustomerStream, open_csv
from segmentation.errors import DataError

#: The chunks of a column are joined each time they hold this many rows together.
JOINED_ROWS = 1 << 20


def read_csv_table(
    path: str | Path, *, delimiter: str | None = None, encoding: str | None = None
) -> RawTable:
    """Read a delimited text file, plain or gzipped, as columns of text.

    Parameters
    ----------
    path, delimiter, encoding
        As in `segmentation.data.streaming.open_csv`.

    Raises
    ------
    DataError
        The file cannot be read as a table: missing, empty, binary, ragged.
    ConfigError
        `delimiter` or `encoding` is not valid.
    """
    opened = partial(open_csv, path, delimiter=delimiter, encoding=encoding)
    stream = opened()
    columns = [_Column(is_text=True) for _ in stream.names]
    _join(stream, columns, ".")
    return _table(stream, columns, opened)


def read_typed_csv(
    path: str | Path,
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    decimal: str,
    is_text: Callable[[str], bool],
) -> RawTable | None:
    """Read a delimited text file into typed columns without holding all of its text in memory.

    Parameters
    ----------
    path, delimiter, encoding
        As in `segmentation.data.streaming.open_csv`.
    decimal
        Decimal mark of the numbers.
    is_text
        Whether a column with this header stays text, as ids must: "0001" is not 1.

    Returns
    -------
    The table, or None if its columns must be read as text: a column has mistakes in it, or its
    chunks disagree on its type.

    Raises
    ------
    DataError, ConfigError
        As in `read_csv_table`.
    """
    opened = partial(open_csv, path, delimiter=delimiter, encoding=encoding)
    stream = opened()
    columns = [_Column(is_text(name)) for name in stream.names]
    return _table(stream, columns, opened) if _join(stream, columns, decimal) else None


def _join(stream: CustomerStream, columns: Sequence[_Column], decimal: str) -> bool:
    """Add all chunks to the columns; return False if one does not match the earlier ones."""
    for chunk in stream.chunks:
        for line in chunk.ragged:
            raise DataError(
                f"{stream.source}, line {line.line}: the number of fields ({len(line.fields)}) "
                f"differs from the header's ({len(columns)}) when split at "
                f"{shown(stream.delimiter)}. Correct the line or set data.delimiter."
            )
        for column, values in zip(columns, chunk.table.columns, strict=True):
            if not column.add(values.combine_chunks(), decimal):
                return False
    if not columns[0].rows:
        raise DataError(f"{stream.source} has a header line but no customers below it.")
    return True


def _table(
    stream: CustomerStream, columns: Sequence[_Column], opened: Callable[[], CustomerStream]
) -> RawTable:
    def number(rows: Sequence[int]) -> list[int]:
        # Reads the file again: keeping the line of every row takes memory, and few are needed.
        found: dict[int, int] = {}
        start = 0
        for chunk in opened().chunks:
            here = [row for row in rows if start <= row < start + len(chunk.table)]
            if here:
                numbers = chunk.number([row - start for row in here])
                found |= zip(here, numbers, strict=True)
            start += len(chunk.table)
            if len(found) == len(set(rows)):
                break
        return [found[row] for row in rows]

    return RawTable(
        names=stream.names,
        columns=tuple(map(_whole, columns)),
        source=stream.source,
        unit=stream.unit,
        number=number,
        notes=stream.notes,
    )


def _whole(column: _Column) -> pa.Array:
    values = column.whole()
    # Frees this column's chunks before those of the next column are copied.
    pa.default_memory_pool().release_unused()
    return values


class _Column:
    """The chunks of one column so far."""

    def __init__(self, is_text: bool) -> None:
        # Unknown until a chunk has a value.
        self.is_text: bool | None = True if is_text else None
        self.is_boolean: bool | None = None
        self.rows = 0
        self._joined: list[pa.Array] = []
        self._chunks: list[pa.Array] = []

    def add(self, text: pa.Array, decimal: str) -> bool:
        """Add the next chunk; return False if its type differs from the earlier ones."""
        if not len(text):
            return True
        values = text
        if not self.is_text:
            parsed = parse(text, decimal)
            if parsed.values.null_count == len(parsed.values):
                values = pa.nulls(len(text))
            elif self.is_text is None and self.rows == 0 and parsed.kind == "text":
                self.is_text = True
            elif parsed.kind != "number":
                return False
            else:
                values = parsed.values
                first = text[values.is_valid().index(True).as_py()].as_py().strip().lower()
                is_boolean = first in ("true", "false")
                if self.is_boolean not in (None, is_boolean):
                    return False
                self.is_text, self.is_boolean = False, is_boolean
        self.rows += len(text)
        self._chunks.append(values)
        # Small chunks of all columns share regions of memory, and a region is only released once
        # all of its chunks are gone.
        if sum(map(len, self._chunks)) >= JOINED_ROWS:
            self._joined.append(self._as_one(self._chunks))
            self._chunks = []
        return True

    def whole(self) -> pa.Array:
        """Return all chunks as one array and drop them."""
        chunks = [*self._joined, *self._chunks]
        self._joined, self._chunks = [], []
        if self.is_text is None:
            return pa.array([""] * self.rows, pa.large_string())
        return self._as_one(chunks)

    def _as_one(self, chunks: list[pa.Array]) -> pa.Array:
        if self.is_text is False:
            is_float = any(pa.types.is_floating(chunk.type) for chunk in chunks)
            kind = pa.float64() if is_float else pa.int64()
            chunks = [chunk.cast(kind) for chunk in chunks]
        return pa.concat_arrays(chunks)
