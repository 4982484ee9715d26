"""Read text files of any size and encoding, plain or gzipped, as blocks of UTF-8."""

from __future__ import annotations

import codecs
import gzip
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from segmentation.errors import ConfigError, DataError

#: Bytes of a text file in a block: a few milliseconds' work, and small compared with a large file.
BLOCK = 1 << 22
FOREIGN_FILES = (
    (b"PK\x03\x04", "an Excel workbook or zip archive: save it as CSV first"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save it as CSV first"),
    (b"PAR1", "a Parquet file: read it with data=parquet"),
    (b"SQLite format 3", "an SQLite database: export the customer table as CSV first"),
    (b"%PDF", "a PDF document"),
)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BYTE_ORDER_MARK = "\ufeff"


def utf8_blocks(file: Path, encoding: str | None) -> tuple[Iterator[bytes], list[str]]:
    """Open a text file as blocks of whole characters.

    Parameters
    ----------
    file
        Plain or gzipped.
    encoding
        A Python codec name; `None` detects UTF-8 (or UTF-16 with a byte order mark), else Latin-1.
        Detection reads the file an extra time.

    Returns
    -------
    The blocks, UTF-8 without a byte order mark, and notes for the user on the encoding.

    Raises
    ------
    DataError
        The file cannot be read or is not a text file. While the blocks are read: the text is not
        in this encoding.
    ConfigError
        There is no such encoding.
    """
    blocks = _blocks(file)
    first = next(blocks, b"")
    for magic, what in FOREIGN_FILES:
        if first.startswith(magic):
            raise DataError(f"{file.name} is not a CSV file but {what}.")
    if encoding is not None:
        return _decoded(file, _codec(encoding, first), encoding), []
    if first.startswith(_UTF16_MARKS) and (len(first) + sum(map(len, blocks))) % 2 == 0:
        return _decoded(file, "utf-16", "UTF-16", errors="replace"), ["read as UTF-16"]
    if _is_binary(first[: 1 << 16]):
        raise DataError(f"{file.name} is not a text file: it holds bytes that no CSV file has.")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(first)
        for block in blocks:
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        note = "not UTF-8, read as Latin-1 (data.encoding sets another)"
        return _decoded(file, "latin-1", "Latin-1"), [note]
    return _decoded(file, "utf-8", "UTF-8"), []


def _codec(encoding: str, first: bytes) -> str:
    """Return Python's name for an encoding."""
    try:
        name = codecs.lookup(encoding).name
        "".encode(name)  # a LookupError for codecs that are not text encodings, such as hex
    except (LookupError, UnicodeError):
        raise ConfigError(
            f"data.encoding={encoding} is unknown; use e.g. utf-8, latin-1 or cp1252."
        ) from None
    if name in ("utf-16", "utf-32") and not first.startswith((*_UTF16_MARKS, codecs.BOM_UTF32_BE)):
        # Without a mark Python uses the machine's byte order, but not when it decodes in blocks.
        return f"{name}-{sys.byteorder[0]}e"
    return name


def _is_binary(head: bytes) -> bool:
    """Return whether there are NUL bytes, or more control characters than text ever has."""
    control = sum(head.count(bytes([code])) for code in range(32) if code not in (9, 10, 12, 13))
    return b"\0" in head or control > len(head) / 100


def _decoded(file: Path, codec: str, name: str, errors: str = "strict") -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)(errors)
    mark = _BYTE_ORDER_MARK
    read = kept = 0  # bytes read before this block; how many of them are still undecoded
    try:
        for block in _blocks(file):
            if text := decoder.decode(block):
                yield text.removeprefix(mark).encode()
                mark = ""
            read, kept = read + len(block), len(decoder.getstate()[0])
        yield decoder.decode(b"", final=True).removeprefix(mark).encode()
    except UnicodeError as error:
        raise DataError(
            f"{file.name} is not {name} text ({_reason(error, read - kept)}). Set another "
            "data.encoding, or leave it out to have it detected."
        ) from None


def _reason(error: UnicodeError, start: int) -> str:
    """Return Python's message with the position in the file instead of in the block."""
    if not isinstance(error, UnicodeDecodeError):
        return str(error)
    wrong = error.object[error.start : error.end]
    first, last = start + error.start, start + error.end - 1
    where = (
        f"byte 0x{wrong[0]:02x} in position {first}"
        if first == last
        else f"bytes in position {first}-{last}"
    )
    return f"'{error.encoding}' codec can't decode {where}: {error.reason}"


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
