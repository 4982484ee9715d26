"""A large text file as typed columns, a block at a time: the text of it all is never in memory.

What a column is (numbers, text) is asked of each block with the same rules as of a whole column.
Where blocks disagree the file is read whole, and the whole column decides, or says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from segmentation.errors import DataError
from segmentation.files import RawTable
from segmentation.streams import CustomerStream, stream_csv
from segmentation.values import parse


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
        As in `segmentation.files.read_csv_table`.
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
    if not any(map(len, columns[0].blocks)):
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
        self.blocks: list[pa.Array] = []

    def add(self, text: pa.Array, decimal: str) -> bool:
        """Take the next block; False where it is of another kind than those before."""
        if self.is_text:
            self.blocks.append(text)
            return True
        parsed = parse(text, decimal)
        values = parsed.values
        if values.null_count == len(values):
            self.blocks.append(pa.nulls(len(values)))
            return True
        if self.is_text is None and parsed.kind == "text":
            # Empty blocks before it would have to be text again.
            self.is_text = True
            self.blocks.append(text)
            return len(self.blocks) == 1
        first = text[values.is_valid().index(True).as_py()].as_py().strip().lower()
        is_boolean = first in ("true", "false")
        if parsed.kind != "number" or self.is_boolean not in (None, is_boolean):
            return False
        self.is_text, self.is_boolean = False, is_boolean
        self.blocks.append(values)
        return True

    def whole(self) -> pa.Array:
        """All blocks as one; they are given up."""
        blocks, self.blocks = self.blocks, []
        if self.is_text is None:
            return pa.array([""] * sum(map(len, blocks)), pa.large_string())
        if not self.is_text:
            is_float = any(pa.types.is_floating(block.type) for block in blocks)
            kind = pa.float64() if is_float else pa.int64()
            blocks = [block.cast(kind) for block in blocks]
        return pa.concat_arrays(blocks)
