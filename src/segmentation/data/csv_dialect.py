"""Split a text table into records and fields: delimiter, quotes, lines, header."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segmentation.errors import ConfigError, DataError

if TYPE_CHECKING:
    import _csv

DELIMITERS = ",;\t|"
#: Columns separated by any number of blanks, without quotes.
WHITESPACE = "whitespace"
_SAMPLE_RECORDS = 100
_SAMPLE_CHARS = 1 << 18
_LINE_END = re.compile(r"[\r\n]")


@dataclass(frozen=True)
class Dialect:
    """The delimiter of a table and the fields of its header line."""

    delimiter: str
    header: tuple[str, ...]


def find_dialect(sample: str, delimiter: str | None, source: str) -> Dialect:
    """Find the dialect of a table.

    Parameters
    ----------
    sample
        The first lines of the table, see `head`.
    delimiter
        As set by the user; `None` detects comma, semicolon, tab or bar.
    source
        Name of the table in messages.

    Raises
    ------
    DataError
        The header line shows that the table has another delimiter.
    ConfigError
        `delimiter` is not valid.
    """
    used = _checked(delimiter) if delimiter else detect_delimiter(sample)
    header = next(records(sample, used, source))[1]
    if len(header) == 1:
        _check_only_header(header[0], sample, used, asked=bool(delimiter), source=source)
    return Dialect(used, tuple(header))


def detect_delimiter(text: str) -> str:
    """Detect the delimiter: the one that splits the first records into equally many fields.

    A delimiter counts only outside quotes, and only if it splits the header too. If several split
    all records evenly, the one with the most fields wins. If none does (ragged lines), the one that
    splits the most records like the header wins. A table with one column has none: comma.
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


def records(
    text: str, delimiter: str, source: str, line: int = 1
) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) of every record that is not an empty line.

    Parameters
    ----------
    text
        Whole records.
    delimiter, source
        One character; name of the table in messages.
    line
        Line of the table at which the text begins, counted from 1.

    Raises
    ------
    DataError
        A record cannot be read.
    """
    reader = _reader(text, delimiter)
    start = line
    try:
        for fields in reader:
            if fields:
                yield start, fields
            start = line + reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{source}, line {start}: cannot be read as CSV ({error}); is a quote not closed?"
        ) from None


def last_record(text: str, delimiter: str, line: int = 1) -> int:
    """Return the first line of the last record, or of the first record that cannot be read."""
    reader = _reader(text, delimiter)
    start = last = line
    try:
        for fields in reader:
            if fields:
                last = start
            start = line + reader.line_num
    except csv.Error:
        return start
    return last


def _reader(text: str, delimiter: str) -> _csv.Reader:
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)


def head(text: str) -> str:
    """Return the first lines of a text, all of them complete."""
    end = _LINE_END.search(text, _SAMPLE_CHARS)
    return text if end is None else text[: end.end()]


def tabbed(text: str) -> str:
    """Replace runs of blanks within a line by one tab; lines keep their numbers."""
    text = re.sub(r"^[ \t]+|[ \t]+(?=\r?$)", "", text, flags=re.MULTILINE)
    return re.sub(r"[ \t]+", "\t", text)


def shown(delimiter: str) -> str:
    """Format a delimiter for a message."""
    if delimiter == WHITESPACE:
        return WHITESPACE
    return "'\\t'" if delimiter == "\t" else f"'{delimiter}'"


def _checked(delimiter: str) -> str:
    """Return the user's delimiter as one character; refuse what cannot be a delimiter."""
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)
    if len(delimiter) != 1 or delimiter in '"\r\n' or delimiter.isalnum():
        raise ConfigError(
            f"data.delimiter={delimiter!r} is not allowed: use one character, such as "
            "',', ';', '|' or '\\t', or whitespace."
        )
    return delimiter


def _check_only_header(
    header: str, sample: str, delimiter: str, *, asked: bool, source: str
) -> None:
    """Refuse a header of one field that another delimiter splits into several."""
    for other in (*DELIMITERS, *":^~", WHITESPACE):
        if other == WHITESPACE:
            counts = _field_counts(tabbed(sample), "\t")
        else:
            counts = [] if other == delimiter else _field_counts(sample, other)
        if counts and counts[0] > 1 and (asked or len(set(counts)) == 1):
            setting = f"data.delimiter={shown(other)}"
            raise DataError(
                f"{source} has only one column, {header!r}, when split at {shown(delimiter)}. "
                f"Is {shown(other)} the separator? Set {setting}."
            )


def _field_counts(text: str, delimiter: str) -> list[int]:
    """Count the fields of the first records; empty if they cannot be read with this delimiter."""
    sample = itertools.islice(records(head(text), delimiter, ""), _SAMPLE_RECORDS)
    try:
        return [len(fields) for _, fields in sample]
    except DataError:
        return []
