"""Customer files of any size, one chunk after the other, every row as the file has it.

`segmentation.data.files` reads a whole table; here a file may be larger than memory, and a row that
cannot be read is handed on with its line instead of ending everything.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from segmentation.data import files
from segmentation.errors import ConfigError, DataError

#: Bytes of text, and rows of Parquet, that are worked on at once.
BLOCK = 1 << 22
BATCH = 50_000
#: A record longer than this is a quote that was opened and never closed.
LONGEST = 1 << 26


@dataclass(frozen=True)
class Ragged:
    """A record with more or fewer fields than the header."""

    line: int
    fields: list[str]


@dataclass(frozen=True)
class Chunk:
    """Some rows: `table` with the file's columns, `number` of a row position as a user counts.

    `read` is the share of the file that has been read with this chunk.
    """

    table: pa.Table
    number: Callable[[Sequence[int]], list[int]]
    ragged: list[Ragged] = field(default_factory=list)
    read: float = 1.0


@dataclass(frozen=True)
class CustomerStream:
    """An open customer file; `chunks` can be gone through once.

    Attributes
    ----------
    source
        File name without folders.
    names
        The headers, in the file's order and spelling.
    unit
        What `Chunk.number` counts: "line" or "row".
    delimiter
        Of a text file; a comma for everything else.
    notes
        What reading did that the user should know.
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
    """Read a delimited text file, plain or gzipped, in chunks of text columns.

    Parameters
    ----------
    path
        The file.
    delimiter, encoding
        As in `segmentation.data.files.read_csv_table`; `None` detects them. A text that is not
        UTF-8 is found by reading the file once before.

    Raises
    ------
    DataError
        The file is missing, empty or no text table. While the chunks are gone through: a quote is
        never closed, or the text is not in the encoding asked for.
    ConfigError
        `delimiter` or `encoding` is no such thing.
    """
    file = files.existing_file(path)
    used_encoding, notes = _encoding(file, encoding)
    blocks = _utf8(file, used_encoding)
    first = next(blocks, b"")
    if not first.strip():
        raise DataError(f"{file.name} is empty: a header line and one line a customer are needed.")
    blanks = delimiter == files.WHITESPACE
    head = files.head(first.decode(errors="replace"))
    if blanks:
        head, delimiter = files.tabbed(head), "\t"
    used = files.check_delimiter(delimiter) if delimiter else files.detect_delimiter(head)
    if delimiter is None and used != ",":
        notes.append(f"separator {files.shown(used)} detected")
    header = next(files.records(head, used))[1]
    files.check_header(header, head, used, delimiter, file.name)
    _check_names(header, file.name)

    def everything() -> Iterator[tuple[bytes, float]]:
        yield first, 0.0
        size = max(1, file.stat().st_size)
        done = len(first)
        for block in blocks:
            done += len(block)
            # Of a packed or transcoded file an estimate only; it is shown, never computed with.
            yield block, min(done / size, 0.99)

    return CustomerStream(
        source=file.name,
        names=tuple(header),
        unit="line",
        delimiter=used,
        notes=tuple(notes),
        chunks=_csv_chunks(everything(), used, header, file.name, blanks=blanks),
    )


def stream_parquet(path: str | Path) -> CustomerStream:
    """Read a Parquet file in batches; columns keep their types.

    Raises
    ------
    DataError
        The file is missing, damaged or not Parquet.
    """
    file = files.existing_file(path)
    try:
        parquet = pa_parquet.ParquetFile(file)
    except PermissionError:
        raise DataError(f"No permission to read {file}.") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise DataError(
            f"{file.name} is not a readable Parquet file ({reason}). "
            "Read a text file with data=csv."
        ) from None
    names = parquet.schema_arrow.names
    _check_names(names, file.name)
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
                f"{file.name} cannot be read after row {start} ({str(error).splitlines()[0]}); "
                "write it again."
            ) from None

    return CustomerStream(
        source=file.name,
        names=tuple(names),
        unit="row",
        delimiter=",",
        notes=(),
        chunks=chunks(),
    )


def stream_table(table: pa.Table, source: str) -> CustomerStream:
    """Customers that are in memory already, as one chunk."""
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
    blocks: Iterator[tuple[bytes, float]],
    delimiter: str,
    header: list[str],
    name: str,
    *,
    blanks: bool,
) -> Iterator[Chunk]:
    """Cut the blocks between records and parse each piece."""
    rest, line, read = b"", 1, 0.0
    newline = None
    for block, read in blocks:
        if newline is None:
            newline = b"\n" if b"\n" in block else b"\r"
        text = rest + block
        cut = _cut(text, newline, delimiter, name, line)
        rest = text[cut:]
        if cut:
            yield _parse(text[:cut], delimiter, header, name, line, read, blanks=blanks)
            line += text.count(newline, 0, cut)
        elif len(rest) > LONGEST:
            raise DataError(f"{name}, line {line}: a quote is opened and never closed.")
    if rest.strip():
        *_, (last, fields) = _records(rest.decode(), delimiter, name, line)
        if rest.count(b'"') % 2 and any("\n" in field for field in fields):
            raise DataError(f"{name}, line {last}: a quote is opened and never closed.")
        yield _parse(rest, delimiter, header, name, line, 1.0, blanks=blanks)


def _cut(text: bytes, newline: bytes, delimiter: str, name: str, line: int) -> int:
    """Where the last whole record of a text ends."""
    end = text.rfind(newline) + 1
    if text.count(b'"', 0, end) % 2 == 0:
        return end
    # The last line break stands in quotes, or a quote is part of a text (5" pipe): parse to know.
    records = _records(text[:end].decode(), delimiter, name, line)
    last = max((start for start, _ in records), default=line)
    at = 0
    for _ in range(last - line):
        at = text.index(newline, at) + 1
    return at


def _records(text: str, delimiter: str, name: str, line: int) -> Iterator[tuple[int, list[str]]]:
    """`files.records` with lines counted from `line`."""
    start = line
    try:
        for start, fields in files.records(text, delimiter):
            start += line - 1
            yield start, fields
    except DataError:
        raise DataError(
            f"{name}: what follows line {start} cannot be read as CSV; is a quote not closed?"
        ) from None


def _parse(
    piece: bytes,
    delimiter: str,
    header: list[str],
    name: str,
    line: int,
    read: float,
    *,
    blanks: bool,
) -> Chunk:
    if blanks:
        piece = files.tabbed(piece.decode()).encode()
    ragged: list[int] = []

    def note(row: pa_csv.InvalidRow) -> str:
        ragged.append(row.actual_columns)
        return "skip"

    first = line == 1
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(piece.lstrip(b"\r\n") if first else piece),
            read_options=pa_csv.ReadOptions(
                column_names=header, skip_rows_after_names=int(first), block_size=2 * LONGEST
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{name}: the lines from {line} on cannot be read as CSV ({str(error)[:200]})."
        ) from None
    text = piece.decode()
    records = _records(text, delimiter, name, line)
    if first:
        next(records, None)
    broken = []
    if ragged:
        broken = [Ragged(at, fields) for at, fields in records if len(fields) != len(header)]

    def number(rows: Sequence[int]) -> list[int]:
        again = _records(text, delimiter, name, line)
        if first:
            next(again, None)
        lines = [at for at, fields in again if len(fields) == len(header)]
        return [lines[row] for row in rows]

    return Chunk(table, number, broken, read)


def _encoding(file: Path, encoding: str | None) -> tuple[str, list[str]]:
    """The encoding to read with; refuses what is no text."""
    if encoding is not None:
        try:
            return codecs.lookup(encoding).name, []
        except LookupError:
            raise ConfigError(
                f"data.encoding={encoding} is unknown; use e.g. utf-8, latin-1 or cp1252."
            ) from None
    blocks = _blocks(file)
    first = next(blocks, b"")
    for magic, what in files.FOREIGN_FILES:
        if first.startswith(magic):
            raise DataError(f"{file.name} is no CSV file but {what}.")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", ["read as UTF-16"]
    if files.binary(first[: 1 << 16]):
        raise DataError(f"{file.name} is no text file: it holds bytes that no CSV file has.")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(first)
        for block in blocks:
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "latin-1", ["not UTF-8, read as Latin-1 (data.encoding sets another)"]
    return "utf-8", []


def _utf8(file: Path, encoding: str) -> Iterator[bytes]:
    """The text of a file in blocks of UTF-8, without a byte order mark."""
    decoder = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)()
    try:
        for block in _blocks(file):
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise DataError(
            f"{file.name} is not {encoding} text ({error}). Set another data.encoding, or leave it "
            "out to have it detected."
        ) from None


def _blocks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            while block := stream.read(BLOCK):
                yield block
    except PermissionError:
        raise DataError(f"No permission to read {file}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}.") from None
