"""A large text file as typed columns, a block at a time: the text of it all is never in memory.

What a column is (numbers, text) is asked of each block with the same rules as of a whole column.
Where blocks disagree the file is read whole, and the whole column decides, or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from segmentation.data.columns import parse
from segmentation.data.files import RawTable
from segmentation.data.streaming import CustomerStream, stream_csv
from segmentation.errors import DataError

#: Rows of a column whose blocks are made one.
JOINED_ROWS = 1 << 20


def read_typed_csv(
    path: Path,
    *,
    delimiter: str | None,
    encoding: str | None,
    decimal: str,
    is_text: Callable[[str], bool],
) -> RawTable | None:
    """Read a delimited text file, plain or gzipped, as columns of numbers and of text.

    Parameters
    ----------
    path
        The file.
    delimiter, encoding
        As in `segmentation.data.files.read_csv_table`.
    decimal
        Decimal mark of the numbers.
    is_text
        Whether a column of this header stays text, as an id has to: "0001" is not 1.

    Returns
    -------
    The table, or None where it has to be read whole: something is wrong in it, or blocks of a
    column disagree on what it is.
    """

    def opened() -> CustomerStream:
        return stream_csv(path, delimiter=delimiter, encoding=encoding)

    try:
        stream = opened()
        columns = [_Column(is_text(name)) for name in stream.names]
        for chunk in stream.chunks:
            if chunk.ragged:
                return None
            for column, values in zip(columns, chunk.table.columns, strict=True):
                if not column.add(values.combine_chunks(), decimal):
                    return None
    except DataError:
        return None
    if not columns[0].rows:
        return None

    def number(rows: Sequence[int]) -> list[int]:
        found: dict[int, int] = {}
        start = 0
        for chunk in opened().chunks:
            here = [row for row in rows if start <= row < start + len(chunk.table)]
            found |= zip(here, chunk.number([row - start for row in here]), strict=True)
            start += len(chunk.table)
            if len(found) == len(set(rows)):
                break
        return [found[row] for row in rows]

    return RawTable(
        names=stream.names,
        columns=tuple(map(_whole, columns)),
        source=stream.source,
        unit="line",
        number=number,
        notes=stream.notes,
    )


def _whole(column: _Column) -> pa.Array:
    values = column.whole()
    # The blocks it was made of, before those of the next column are copied too.
    pa.default_memory_pool().release_unused()
    return values


class _Column:
    """The blocks of one column so far."""

    def __init__(self, is_text: bool) -> None:
        # Unknown until the first block that has a value.
        self.is_text: bool | None = True if is_text else None
        self.is_boolean: bool | None = None
        self.rows = 0
        self._joined: list[pa.Array] = []
        self._blocks: list[pa.Array] = []

    def add(self, text: pa.Array, decimal: str) -> bool:
        """Take the next block; False where it is of another kind than those before."""
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
        self._blocks.append(values)
        # Small blocks of all columns lie among each other, and none of their memory is given back
        # before that of all.
        if sum(map(len, self._blocks)) >= JOINED_ROWS:
            self._joined.append(self._as_one(self._blocks))
            self._blocks = []
        return True

    def whole(self) -> pa.Array:
        """All blocks as one; they are given up."""
        blocks = [*self._joined, *self._blocks]
        self._joined, self._blocks = [], []
        if self.is_text is None:
            return pa.array([""] * self.rows, pa.large_string())
        return self._as_one(blocks)

    def _as_one(self, blocks: list[pa.Array]) -> pa.Array:
        if self.is_text is False:
            is_float = any(pa.types.is_floating(block.type) for block in blocks)
            kind = pa.float64() if is_float else pa.int64()
            blocks = [block.cast(kind) for block in blocks]
        return pa.concat_arrays(blocks)
