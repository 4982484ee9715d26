"""Write a scored file and its rejects, completely or not at all, in bounded memory."""

from __future__ import annotations

import contextlib
import csv
import gzip
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pa_parquet

from segmentation.data.names import kept_names
from segmentation.data.streaming import CustomerStream
from segmentation.errors import ConfigError, DataError
from segmentation.scoring.chunks import Progress, Reject, Tally, scored_chunks

if TYPE_CHECKING:
    import pandas as pd

    from segmentation.model.segment_model import SegmentModel

#: The columns scoring adds, in this order.
ADDED = {
    "segment": pa.int64(),
    "segment_name": pa.string(),
    "distance": pa.float64(),
    "second_segment": pa.int64(),
    "margin": pa.float64(),
    "in_range": pa.bool_(),
}
_ENDINGS = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True)
class Output:
    """Paths of the scored and the rejected rows; see `choose_output`."""

    scored: Path
    rejects: Path

    @property
    def parquet(self) -> bool:
        """Whether the scored file is Parquet; otherwise it is CSV."""
        return self.scored.suffix == ".parquet"


def choose_output(out: str, data_path: str | None, *, overwrite: bool) -> Output:
    """Check where the scored file is to be written, before any work is done.

    Parameters
    ----------
    out : str
        Ends in ``.csv``, ``.csv.gz`` or ``.parquet``.
    data_path : str, optional
        The input file, which is never overwritten.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ConfigError
        The file cannot be written there.
    """
    scored = Path(out).expanduser().absolute()
    ending = next((e for e in sorted(_ENDINGS, key=len)[::-1] if scored.name.endswith(e)), None)
    if ending is None or scored.name == ending:
        raise ConfigError(f"out={out}: the name must end in {', '.join(_ENDINGS)}.")
    rejects = scored.with_name(scored.name.removesuffix(ending) + ".rejects.csv")
    source = Path(data_path).expanduser().resolve() if data_path else None
    for path in (scored, rejects):
        if path.resolve() == source:
            raise ConfigError(f"out={out}: {path.name} is the input file; choose another name.")
        check_free(path, out, overwrite=overwrite)
    return Output(scored, rejects)


def check_free(path: Path, out: str, *, overwrite: bool) -> None:
    """Check that a file can be written at an absolute path.

    Parameters
    ----------
    path : Path
    out : str
        The option as given, for messages.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    ConfigError
        Its folder does not exist, or it exists itself.
    """
    if not path.parent.is_dir():
        raise ConfigError(f"out={out}: there is no folder {path.parent}.")
    if path.is_dir():
        raise ConfigError(f"out={out}: {path} is a folder; give a file name.")
    if path.exists() and not overwrite:
        raise ConfigError(
            f"out={out}: {path} already exists. Choose another name, or replace it with "
            "overwrite=true."
        )


def score_file(
    stream: CustomerStream,
    model: SegmentModel,
    found: Mapping[str, str],
    output: Output,
    *,
    decimal: str = ".",
    id: str | None = None,
) -> Tally:
    """Score a file: write every row to the scored file or, with the reason, to the rejects file.

    Both are written under temporary names in the same folder and renamed at the end.

    Parameters
    ----------
    stream : CustomerStream
    model : SegmentModel
    found : mapping
        From `segmentation.scoring.chunks.require_headers`.
    output : Output
        The rejects file is only written if there are any.
    decimal : {".", ","}
        Decimal mark of numbers in text.
    id : str, optional
        Header of the column that identifies customers.

    Raises
    ------
    DataError
        The file has no customers, already has one of the added columns or cannot be read to its
        end; no row could be scored; or the disk is full.
    """
    kept = kept_names(stream.names, ADDED, source=stream.source, features={*found.values()}, id=id)
    progress, tally = Progress(), Tally()
    try:
        with part(output.scored) as scored, part(output.rejects) as rejected:
            with (
                _scored_writer(stream, output, scored, decimal, kept) as write,
                rejected.open("w", encoding="utf-8", newline="") as rejects,
            ):
                refuse = _reject_writer(rejects, stream)
                for chunk in scored_chunks(stream, model, found, decimal=decimal):
                    write(chunk.rows, chunk.answer)
                    for reject in chunk.rejects:
                        refuse(reject)
                    tally.add(chunk)
                    progress.say(tally, chunk.read)
            if not tally.read:
                raise DataError(f"{stream.source} has a header but no customers below it.")
            if tally.rejected:
                rejected.replace(output.rejects)
            else:
                output.rejects.unlink(missing_ok=True)
            if not tally.scored:
                raise DataError(
                    f"{stream.source}: none of the {tally.read:,} rows can be scored "
                    f"({reasons(tally)}). The rows and the reasons are in {output.rejects}."
                )
            scored.replace(output.scored)
    except OSError as error:
        raise DataError(
            f"{output.scored} cannot be written: {error.strerror or error}. Free some space, or "
            "choose another place with out=."
        ) from error
    tally.seconds = progress.seconds()
    return tally


def reasons(tally: Tally) -> str:
    """Say why rows were rejected, most frequent first: ``income missing 12, age … 3``."""
    common = tally.rejected.most_common(4)
    text = ", ".join(f"{kind} {count:,}" for kind, count in common)
    return text + (", …" if len(tally.rejected) > len(common) else "")


@contextlib.contextmanager
def part(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; what is there is removed at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _scored_writer(
    stream: CustomerStream, output: Output, path: Path, decimal: str, kept: Mapping[str, str]
) -> Iterator[Any]:
    """Yield a function that writes scored rows, the file's own columns named as in `kept`."""
    if output.parquet:
        writers: list[pa_parquet.ParquetWriter] = []

        def write_parquet(rows: pa.Table, answer: pd.DataFrame) -> None:
            rows = rows.rename_columns([kept[name] for name in rows.column_names])
            for name, kind in ADDED.items():
                rows = rows.append_column(pa.field(name, kind), _column(answer, name))
            if not writers:
                writers.append(pa_parquet.ParquetWriter(path, rows.schema))
            writers[0].write_table(rows)

        try:
            yield write_parquet
        finally:
            for writer in writers:
                writer.close()
        return
    packed = output.scored.suffix == ".gz"
    with gzip.open(path, "wb", compresslevel=6) if packed else path.open("wb") as file:
        sink: IO[bytes] = file  # type: ignore[assignment]
        header = [pa.array([name], pa.large_string()) for name in (*kept.values(), *ADDED)]
        sink.write(csv_lines(header, stream.delimiter))

        def write_csv(rows: pa.Table, answer: pd.DataFrame) -> None:
            columns = [_text(rows[name].combine_chunks(), name) for name in rows.column_names]
            added = [_text(_column(answer, name), name) for name in ADDED]
            if decimal == ",":
                added = [
                    pc.replace_substring(column, ".", ",") if pa.types.is_floating(kind) else column
                    for column, kind in zip(added, ADDED.values(), strict=True)
                ]
            sink.write(csv_lines([*columns, *added], stream.delimiter))

        yield write_csv


def _column(answer: pd.DataFrame, name: str) -> pa.Array:
    return pa.Array.from_pandas(answer[name], type=ADDED[name])


def _text(column: pa.Array, name: str) -> pa.Array:
    try:
        return column.cast(pa.large_string())
    except pa.ArrowException:
        raise DataError(
            f"column '{name}' has type {column.type}, which CSV cannot hold; write Parquet with "
            "out=….parquet"
        ) from None


def csv_lines(columns: Sequence[pa.Array], delimiter: str) -> memoryview | bytes:
    """Format lines of a CSV file as UTF-8 bytes; values are quoted only where necessary.

    Parameters
    ----------
    columns : sequence of text arrays of n values
        Null becomes an empty field.
    delimiter : str
    """
    if not len(columns[0]):
        return b""
    comma, quote, newline, nothing = (_literal(text) for text in (delimiter, '"', "\n", ""))
    special = f'["\r\n{re.escape(delimiter)}]'
    fields = []
    for column in columns:
        must = pc.match_substring_regex(column, special)
        if pc.any(must).as_py():
            doubled = pc.replace_substring(column, '"', '""')
            quoted = pc.binary_join_element_wise(quote, doubled, quote, nothing)
            column = pc.if_else(must, quoted, column)
        fields.append(column)
    options = {"null_handling": "replace", "null_replacement": ""}
    lines = pc.binary_join_element_wise(*fields, comma, **options)
    ended = pc.binary_join_element_wise(lines, nothing, newline)
    # Arrow stores the texts of a column one after another: this buffer is the file's content.
    return memoryview(ended.buffers()[2])


def _literal(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _reject_writer(file: IO[str], stream: CustomerStream) -> Any:
    """Return a function that writes a rejected row: its number, the reason and its raw fields."""
    own = [f"rejected_{name}" if name in stream.names else name for name in (stream.unit, "reason")]
    writer = csv.writer(file, delimiter=stream.delimiter, lineterminator="\n")
    writer.writerow([*own, *stream.names])
    width = len(stream.names)

    def refuse(reject: Reject) -> None:
        fields = list(reject.fields)
        if len(fields) > width:  # keep the table even: the surplus goes into the last column
            fields[width - 1 :] = [stream.delimiter.join(fields[width - 1 :])]
        fields += [""] * (width - len(fields))
        writer.writerow([reject.number, reject.reason, *fields])

    return refuse
