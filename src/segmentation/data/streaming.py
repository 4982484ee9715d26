"""Read customer files of any size chunk by chunk, without interpreting their values.

A file may be larger than memory. A record with more or fewer fields than the header does not stop
reading: it is returned with its line number, and the caller decides what to do about it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from segmentation.data.csv_dialect import (
    WHITESPACE,
    Dialect,
    find_dialect,
    head,
    last_record,
    records,
    shown,
    tabbed,
)
from segmentation.data.files import existing_file, open_parquet
from segmentation.data.text_encoding import utf8_blocks
from segmentation.errors import DataError

#: Rows of a Parquet batch.
BATCH = 50_000
#: A record of more bytes than this is taken for a quote that was never closed.
LONGEST = 1 << 26
_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Ragged:
    """A record with more or fewer fields than the header."""

    line: int
    fields: list[str]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file.

    Attributes
    ----------
    table
        The rows, with the file's columns.
    number
        Converts row positions to the line or row numbers that a user counts.
    ragged
        Records with more or fewer fields than the header; they are not in `table`.
    read
        Share of the file read so far, including this chunk.
    """

    table: pa.Table
    number: Callable[[Sequence[int]], list[int]]
    ragged: list[Ragged] = field(default_factory=list)
    read: float = 1.0


@dataclass(frozen=True)
class CustomerStream:
    """An open customer file; `chunks` can be iterated over once.

    Attributes
    ----------
    source
        File name without folders.
    names
        The headers, in the file's order and spelling.
    unit
        What `Chunk.number` counts: "line" or "row".
    delimiter
        Delimiter of a text file; a comma for all other sources.
    notes
        What the user should know about how the file is read.
    chunks
        The customers.
    """

    source: str
    names: tuple[str, ...]
    unit: str
    delimiter: str
    notes: tuple[str, ...]
    chunks: Iterator[Chunk]


def stream_csv(
    path: str | Path, *, delimiter: str | None = None, encoding: str | None = None
) -> CustomerStream:
    """Read a delimited text file with unique headers in chunks of text columns.

    Parameters and errors as in `open_csv`; repeated headers raise a `DataError`.
    """
    stream = open_csv(path, delimiter=delimiter, encoding=encoding)
    _check_names(stream.names, stream.source)
    return stream


def open_csv(
    path: str | Path, *, delimiter: str | None = None, encoding: str | None = None
) -> CustomerStream:
    """Read a delimited text file, plain or gzipped, in chunks of text columns.

    Parameters
    ----------
    path
        The file.
    delimiter
        One character, or "whitespace" for columns separated by blanks; `None` detects comma,
        semicolon, tab or bar.
    encoding
        A Python codec name; `None` detects UTF-8 (or UTF-16 with a byte order mark), else Latin-1.

    Raises
    ------
    DataError
        The file is missing, empty or not a text table. While the chunks are read: a quote is never
        closed, or the text is not in `encoding`.
    ConfigError
        `delimiter` or `encoding` is not valid.
    """
    file = existing_file(path)
    blocks, notes = utf8_blocks(file, encoding)
    if delimiter == WHITESPACE:
        blocks, delimiter = _tabbed(blocks), "\t"
    first, sample = _first_lines(blocks)
    if not sample or sample.isspace():
        raise DataError(f"{file.name} is empty: it needs a header line and one line per customer.")
    dialect = find_dialect(sample, delimiter, file.name)
    if delimiter is None and dialect.delimiter != ",":
        notes.append(f"separator {shown(dialect.delimiter)} detected")
    return CustomerStream(
        source=file.name,
        names=dialect.header,
        unit="line",
        delimiter=dialect.delimiter,
        notes=tuple(notes),
        chunks=_csv_chunks(itertools.chain(first, blocks), file.stat().st_size, dialect, file.name),
    )


def _first_lines(blocks: Iterator[bytes]) -> tuple[list[bytes], str]:
    """Return the blocks with enough lines to detect the dialect, and those lines."""
    first: list[bytes] = []
    text = ""
    for block in blocks:
        first.append(block)
        text += block.decode()
        if len(head(text)) < len(text) and not text.isspace():
            break
    return first, head(text)


def _tabbed(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        text = rest + block
        end = text.rfind(b"\n") + 1
        rest = text[end:]
        yield tabbed(text[:end].decode()).encode()
    yield tabbed(rest.decode()).encode()


def stream_parquet(path: str | Path) -> CustomerStream:
    """Read a Parquet file in batches; columns keep their types.

    Raises
    ------
    DataError
        The file is missing, damaged or not Parquet.
    """
    source = existing_file(path).name
    parquet = open_parquet(path)
    names = parquet.schema_arrow.names
    _check_names(names, source)
    rows = max(1, parquet.metadata.num_rows)

    def chunks() -> Iterator[Chunk]:
        start = 0
        try:
            for batch in parquet.iter_batches(batch_size=BATCH):
                table = pa.Table.from_batches([batch])
                yield Chunk(table, _counter(start + 1), read=(start + len(batch)) / rows)
                start += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{source} cannot be read after row {start} ({str(error).splitlines()[0]}); "
                "write it again."
            ) from None

    return CustomerStream(
        source=source,
        names=tuple(names),
        unit="row",
        delimiter=",",
        notes=(),
        chunks=chunks(),
    )


def stream_table(table: pa.Table, source: str) -> CustomerStream:
    """Return customers that are already in memory as one chunk."""
    chunks = iter([Chunk(table, _counter(1))])
    return CustomerStream(source, tuple(table.column_names), "row", ",", (), chunks)


def _counter(first: int) -> Callable[[Sequence[int]], list[int]]:
    return lambda rows: [row + first for row in rows]


def _check_names(names: Sequence[str], source: str) -> None:
    twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
    if twice:
        raise DataError(
            f"{source}: several columns are called '{twice[0]}'; column names must be unique."
        )


def _csv_chunks(
    blocks: Iterator[bytes], size: int, dialect: Dialect, source: str
) -> Iterator[Chunk]:
    """Cut the blocks between records and parse each piece."""
    rest, line, done = b"", 1, 0
    header = True
    for block in blocks:
        text = rest + block
        done += len(block)
        cut = _cut(text, dialect, line)
        piece, rest = text[:cut], text[cut:]
        if piece.strip(b"\r\n"):
            # Only an estimate for a compressed or transcoded file; used for progress alone.
            read = min(done / max(size, 1), 0.99)
            yield _parse(piece, line, dialect, source, header=header, read=read)
            header = False
        elif len(rest) > LONGEST:
            raise _never_closed(source, line)
        line += _line_ends(piece)
    if not _closed(rest, dialect.delimiter):
        # An added line is a record of its own unless a quote is still open before it.
        longer = rest + b"\n."
        last = last_record(longer.decode(), dialect.delimiter, line)
        cut = _start_of_line(longer, last - line)
        if longer[cut:] != b".":
            if cut:
                yield _parse(rest[:cut], line, dialect, source, header=header)
                header, line, rest = False, last, rest[cut:]
            fields = next(records(rest.decode(), dialect.delimiter, source, line))[1]
            if any(_LINE_END.search(field.encode()) for field in fields):
                raise _never_closed(source, line)
    if rest.strip(b"\r\n"):
        # pyarrow cannot read a header line without a line end.
        piece = rest + b"\n" if header else rest
        yield _parse(piece, line, dialect, source, header=header)


def _never_closed(source: str, line: int) -> DataError:
    return DataError(f"{source}, line {line}: a quote is opened and never closed.")


def _cut(text: bytes, dialect: Dialect, line: int) -> int:
    """Return the position where the last complete record of a text ends."""
    # A carriage return at the end may be half of a line end.
    end = text.rfind(b"\n") + 1 or text.rfind(b"\r", 0, -1) + 1
    if _closed(text[:end], dialect.delimiter):
        return end
    # The last line break may be inside quotes: parse to find out.
    return _start_of_line(text, last_record(text[:end].decode(), dialect.delimiter, line) - line)


def _closed(text: bytes, delimiter: str) -> bool:
    """Return whether all quotes are certainly closed at the end of a text.

    They are if their number is even and each one opens or closes a field or is doubled inside one:
    then the first, third, ... are at the start of a field or directly after the previous quote.
    A quote may also be part of a text (5" pipe).
    """
    if b'"' not in text:
        return True
    letters = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(letters == ord('"'))
    if len(quotes) % 2:
        return False
    before = letters[quotes[::2] - 1]
    starts = np.isin(before, np.frombuffer(f'"\r\n{delimiter}'.encode(), np.uint8))
    return bool(starts[1:].all() and (starts[0] or quotes[0] == 0))


def _line_ends(text: bytes) -> int:
    """Count lines as the csv module does: ended by a line feed, a carriage return, or both."""
    lines = text.count(b"\n")
    return lines + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else lines


def _start_of_line(text: bytes, number: int) -> int:
    """Position of a line, counted from 0."""
    if number == 0:
        return 0
    return next(itertools.islice(_LINE_END.finditer(text), number - 1, None)).end()


def _parse(
    piece: bytes, line: int, dialect: Dialect, source: str, *, header: bool, read: float = 1.0
) -> Chunk:
    """Parse a piece of whole records; with `header` the first one is the header line."""
    width = len(dialect.header)
    keys = [str(i) for i in range(width)]  # headers may repeat: use positions as names
    wrong: list[int] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        wrong.append(row.actual_columns)
        return "skip"

    def rows() -> Iterator[tuple[int, list[str]]]:
        found = records(piece.decode(), dialect.delimiter, source, line)
        return itertools.islice(found, int(header), None)

    def number(positions: Sequence[int]) -> list[int]:
        lines = [at for at, fields in rows() if len(fields) == width]
        return [lines[position] for position in positions]

    try:
        table = pa_csv.read_csv(
            pa.BufferReader(piece.lstrip(b"\r\n") if header else piece),
            read_options=pa_csv.ReadOptions(
                column_names=keys, skip_rows_after_names=int(header), block_size=2 * LONGEST
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=skip
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise _unreadable(source, line, str(error)[:200]) from None
    ragged = [Ragged(at, fields) for at, fields in rows() if len(fields) != width] if wrong else []
    if wrong and not ragged:
        raise _unreadable(source, line, f"{wrong[0]} fields, the header has {width}")
    return Chunk(table.rename_columns(list(dialect.header)), number, ragged, read)


def _unreadable(source: str, line: int, reason: str) -> DataError:
    return DataError(f"{source}: the lines from {line} on cannot be read as CSV ({reason}).")
