"""Customer files as tables of raw columns: encoding, delimiter, ragged lines, line numbers.

What the values mean (numbers, ids, missing values) is decided in `segmentation.data.customers`.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from segmentation.errors import ConfigError, DataError

DELIMITERS = ",;\t|"
#: Columns kept apart by any number of blanks, and no quotes.
WHITESPACE = "whitespace"
_SHOWN = 5
_SAMPLE_RECORDS = 100
_SAMPLE_CHARS = 1 << 18
FOREIGN_FILES = (
    (b"PK\x03\x04", "an Excel workbook or zip archive: save it as CSV first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save it as CSV first"),
    (b"PAR1", "a Parquet file: read it with data=parquet"),
    (b"SQLite format 3", "an SQLite database: export the customer table as CSV first"),
    (b"%PDF", "a PDF document"),
)


@dataclass(frozen=True)
class RawTable:
    """Columns as the file has them, and how to tell a user which row is meant.

    `number` maps 0-based row positions to what `unit` counts: the file's lines for CSV (the header
    is line 1), rows from 1 for everything else.
    """

    names: tuple[str, ...]
    columns: tuple[pa.Array, ...]
    source: str
    unit: str
    number: Callable[[Sequence[int]], list[int]]
    notes: tuple[str, ...] = ()

    def places(self, mask: npt.NDArray[np.bool_]) -> str:
        """Say where `mask` is true: "line 3", "lines 3, 9, ..."; the first few only."""
        rows = np.flatnonzero(mask)
        numbers = ", ".join(str(n) for n in self.number(rows[:_SHOWN].tolist()))
        unit = self.unit if len(rows) == 1 else f"{self.unit}s"
        return f"{unit} {numbers}{', ...' if len(rows) > _SHOWN else ''}"


def read_csv_table(
    path: str | Path, *, delimiter: str | None = None, encoding: str | None = None
) -> RawTable:
    """Read a delimited text file, plain or gzipped, as columns of text.

    Parameters
    ----------
    path
        The file.
    delimiter
        One character, or "whitespace" for columns kept apart by blanks; `None` finds one of
        comma, semicolon, tab and bar.
    encoding
        A Python codec name; `None` takes UTF-8 (or UTF-16 with a byte order mark), else Latin-1.

    Raises
    ------
    DataError
        The file cannot be read as a table: missing, empty, binary, ragged, duplicate headers.
    ConfigError
        `delimiter` or `encoding` is no such thing.
    """
    file = existing_file(path)
    text, notes = _decode(_read_bytes(file), file.name, encoding)
    if not text or text.isspace():
        raise DataError(f"{file.name} is empty: a header line and one line a customer are needed.")
    if delimiter == WHITESPACE:
        text, delimiter = tabbed(text), "\t"
    used = check_delimiter(delimiter) if delimiter else detect_delimiter(text)
    if delimiter is None and used != ",":
        notes.append(f"separator {shown(used)} detected")
    header = next(records(head(text), used))[1]
    check_header(header, text, used, delimiter, file.name)
    if text.count('"') % 2:  # pyarrow reads on to the end of the file after a lost quote
        _check_lines(text, used, header, file.name)
    table = _parse(text, used, header, file.name)
    if table.num_rows == 0:
        raise DataError(f"{file.name} has a header line but no customers below it.")
    return RawTable(
        names=tuple(header),
        columns=tuple(column.combine_chunks() for column in table.columns),
        source=file.name,
        unit="line",
        number=lambda rows: _line_numbers(text, used, rows),
        notes=tuple(notes),
    )


def read_parquet_table(path: str | Path) -> RawTable:
    """Read a Parquet file; an unnamed pandas index stored with it is left out.

    Raises
    ------
    DataError
        The file is missing, damaged or not Parquet.
    """
    file = existing_file(path)
    try:
        with file.open("rb") as stream:
            parquet = pa_parquet.ParquetFile(stream)
            names = [
                name for name in parquet.schema_arrow.names if not name.startswith("__index_level_")
            ]
            # One column at a time: as a whole table first, it would be in memory twice.
            columns = tuple(_one_array(parquet.read([name])) for name in names)
    except PermissionError:
        raise DataError(f"No permission to read {file}.") from None
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0].split(". ")[0].rpartition("'<Buffer>': ")[2]
        raise DataError(
            f"{file.name} is not a readable Parquet file ({reason}). "
            "Read a text file with data=csv."
        ) from None
    return RawTable(
        names=tuple(names),
        columns=columns,
        source=file.name,
        unit="row",
        number=lambda rows: [row + 1 for row in rows],
    )


def _one_array(table: pa.Table) -> pa.Array:
    chunks = table.column(0).chunks
    return pa.concat_arrays(chunks) if chunks else pa.array([], table.column(0).type)


def existing_file(path: str | Path) -> Path:
    """Absolute path of a file that exists, or a `DataError` that helps to find it."""
    if not str(path).strip():
        raise ConfigError("data.path is empty: name the customer file, data.path=customers.csv")
    file = Path(path).expanduser().absolute()
    try:
        if file.is_file():
            return file
        if file.is_dir():
            raise DataError(f"data.path is a folder: {file}. Name the file in it.")
        if not file.parent.is_dir():
            raise DataError(f"No such file: {file} (there is no folder {file.parent}).")
        others = [entry.name for entry in file.parent.iterdir() if entry.is_file()]
    except PermissionError:
        raise DataError(f"No permission to read {file}.") from None
    near = difflib.get_close_matches(file.name, others, n=3, cutoff=0.5)
    hint = f" Similar names there: {', '.join(near)}." if near else " Check data.path."
    raise DataError(f"No such file: {file}.{hint}")


def detect_delimiter(text: str) -> str:
    """Delimiter of a text table: the one that cuts the first records into equally many fields.

    A delimiter counts only where it stands outside quotes and cuts the header too. Of several that
    cut all records evenly the one with most fields wins; when none does (ragged lines), the one
    that cuts most records as it cuts the header. A table of one column has none: comma.
    """
    best, best_score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        counts = _field_counts(text, delimiter)
        if not counts or counts[0] < 2:
            continue
        even = sum(count == counts[0] for count in counts[1:]) / max(1, len(counts) - 1)
        if (even, counts[0]) > best_score:
            best, best_score = delimiter, (even, counts[0])
    if best_score == (0.0, 0):  # no data line fits its header: take what the header shows
        heads = {d: (_field_counts(text, d) or [1])[0] for d in DELIMITERS}
        best = max(DELIMITERS, key=lambda d: heads[d])
    return best


def tabbed(text: str) -> str:
    """Blanks within a line as one tab, so that lines keep their numbers."""
    text = re.sub(r"^[ \t]+|[ \t]+(?=\r?$)", "", text, flags=re.MULTILINE)
    return re.sub(r"[ \t]+", "\t", text)


def head(text: str) -> str:
    """First lines of a text, each of them whole."""
    end = text.find("\n", _SAMPLE_CHARS)
    return text if end < 0 else text[: end + 1]


def _field_counts(text: str, delimiter: str) -> list[int]:
    """Fields in each of the first records; none when this delimiter leaves them unreadable."""
    sample = itertools.islice(records(head(text), delimiter), _SAMPLE_RECORDS)
    try:
        return [len(fields) for _, fields in sample]
    except DataError:
        return []


def records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) of every record that is not an empty line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"Line {line} cannot be read as CSV ({error}); is a quote not closed?"
        ) from None


def _line_numbers(text: str, delimiter: str, rows: Sequence[int]) -> list[int]:
    wanted, last = set(rows), max(rows, default=-1)
    found: dict[int, int] = {}
    for row, (line, _) in enumerate(records(text, delimiter), start=-1):
        if row in wanted:
            found[row] = line
        if row >= last:
            break
    return [found[row] for row in rows]


def _read_bytes(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except PermissionError:
        raise DataError(f"No permission to read {file}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be read: {error}.") from None


def _decode(data: bytes, name: str, encoding: str | None) -> tuple[str, list[str]]:
    notes: list[str] = []
    for magic, what in FOREIGN_FILES:
        if data.startswith(magic):
            raise DataError(f"{name} is no CSV file but {what}.")
    if encoding is not None:
        try:
            return data.decode(codecs.lookup(encoding).name).removeprefix("\ufeff"), notes
        except LookupError:
            raise ConfigError(
                f"data.encoding={encoding} is unknown; use e.g. utf-8, latin-1 or cp1252."
            ) from None
        except UnicodeError as error:
            raise DataError(
                f"{name} is not {encoding} text ({error}). Set another data.encoding, or leave it "
                "out to have it detected."
            ) from None
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and len(data) % 2 == 0:
        notes.append("read as UTF-16")
        return data.decode("utf-16", errors="replace"), notes
    if binary(data[: 1 << 16]):
        raise DataError(f"{name} is no text file: it holds bytes that no CSV file has.")
    try:
        return data.decode("utf-8-sig"), notes
    except UnicodeDecodeError:
        notes.append("not UTF-8, read as Latin-1 (data.encoding sets another)")
        return data.decode("latin-1"), notes


def binary(head: bytes) -> bool:
    """NUL bytes, or more control characters than a text would ever have."""
    control = sum(head.count(bytes([code])) for code in range(32) if code not in (9, 10, 12, 13))
    return b"\0" in head or control > len(head) / 100


def check_delimiter(delimiter: str) -> str:
    """The delimiter a user asked for as the character it stands for; refuses what cannot be one."""
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n' or delimiter.isalnum():
        raise ConfigError(
            f"data.delimiter={delimiter!r} is not allowed: give one character, such as "
            "',', ';', '|' or '\\t', or whitespace."
        )
    return delimiter


def check_header(
    header: list[str], text: str, delimiter: str, asked: str | None, name: str
) -> None:
    """Refuse a header line that shows that the file was read with the wrong delimiter."""
    if len(header) > 1:
        return
    for other in (*DELIMITERS, *":^~", WHITESPACE):
        if other == WHITESPACE:
            counts = _field_counts(tabbed(head(text)), "\t")
        else:
            counts = [] if other == delimiter else _field_counts(text, other)
        if counts and counts[0] > 1 and (asked or len(set(counts)) == 1):
            setting = f"data.delimiter={shown(other)}"
            raise DataError(
                f"{name} has one column only, {header[0]!r}, when cut at {shown(delimiter)}. "
                f"Is {shown(other)} the separator? Set {setting}."
            )


def _parse(text: str, delimiter: str, header: list[str], name: str) -> pa.Table:
    keys = [str(i) for i in range(len(header))]  # headers may repeat: columns go by position here
    body = text.lstrip("\r\n").encode()
    try:
        return pa_csv.read_csv(
            pa.BufferReader(body),
            read_options=pa_csv.ReadOptions(column_names=keys, skip_rows_after_names=1),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(keys, pa.large_string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        _check_lines(text, delimiter, header, name)
        raise DataError(f"{name} cannot be read as CSV: {str(error)[:200]}") from None


def _check_lines(text: str, delimiter: str, header: list[str], name: str) -> None:
    """Raise a `DataError` for the first line with more or fewer fields than the header."""
    last_line, last_fields = 1, header
    for line, fields in records(text, delimiter):
        if len(fields) != len(header):
            raise DataError(
                f"{name}, line {line}: not as many fields ({len(fields)}) as the header has "
                f"({len(header)}), cut at {shown(delimiter)}. Put it right or set data.delimiter."
            )
        last_line, last_fields = line, fields
    if any("\n" in field for field in last_fields) and text.count('"') % 2:
        raise DataError(f"{name}, line {last_line}: a quote is opened and never closed.")


def shown(delimiter: str) -> str:
    """The delimiter as a message shows it."""
    if delimiter == WHITESPACE:
        return WHITESPACE
    return "'\\t'" if delimiter == "\t" else f"'{delimiter}'"
