"""Find the segment of every customer in a file, or the reason why a row cannot be scored."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segmentation.data.columns import as_text, not_numbers, parse, to_pandas
from segmentation.data.streaming import Chunk, CustomerStream
from segmentation.errors import DataError

if TYPE_CHECKING:
    from segmentation.model.segment_model import Fault, InputColumn, SegmentModel

#: Seconds between two lines of progress.
PROGRESS = 5.0
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BOOLEAN = r"^(true|True|TRUE|false|False|FALSE)$"


@dataclass(frozen=True)
class Reject:
    """A row that cannot be scored: its number, its fields, the reason, and the kind of reason."""

    number: int
    fields: Sequence[Any]
    reason: str
    kind: str


@dataclass(frozen=True)
class ScoredChunk:
    """A chunk of customers with their segments.

    Attributes
    ----------
    rows
        The scored rows with all columns of the file.
    answer
        Their answers, see `segmentation.model.segment_model.SegmentModel.assign` with details.
    customers
        The model's columns of all rows, scored or not; NaN for values that are not numbers.
    rejects
        Every other row of the chunk, in the file's order.
    read
        Share of the file read so far.
    """

    rows: pa.Table
    answer: pd.DataFrame
    customers: pd.DataFrame
    rejects: list[Reject]
    read: float


@dataclass
class Tally:
    """Counts made while scoring: rows by segment id, rejected rows by kind of reason."""

    segments: Counter[int] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def scored(self) -> int:
        """Number of rows with a segment."""
        return self.segments.total()

    @property
    def read(self) -> int:
        """Number of all rows."""
        return self.scored + self.rejected.total()

    def add(self, chunk: ScoredChunk) -> None:
        """Add the counts of a chunk."""
        ids, sizes = np.unique(chunk.answer["segment"].to_numpy(), return_counts=True)
        self.segments.update(dict(zip(ids.tolist(), sizes.tolist(), strict=True)))
        self.rejected.update(reject.kind for reject in chunk.rejects)


def headers(
    stream: CustomerStream, model: SegmentModel, rename: Mapping[str, str]
) -> dict[str, str]:
    """Map the model's columns that the file has, after renaming, to their headers."""
    named: dict[str, str] = {}
    for header in stream.names:
        plain = header.strip()
        named[rename.get(plain, plain)] = header
    return {c["name"]: named[c["name"]] for c in model.columns if c["name"] in named}


def require_headers(
    stream: CustomerStream, model: SegmentModel, rename: Mapping[str, str]
) -> dict[str, str]:
    """Map all of the model's columns to the file's headers; see `headers`.

    Raises
    ------
    DataError
        A column is missing.
    """
    found = headers(stream, model, rename)
    missing = [column["name"] for column in model.columns if column["name"] not in found]
    if missing:
        raise DataError(
            f"{stream.source} lacks {', '.join(map(repr, missing))}, which the model needs. "
            f"Columns: {', '.join(stream.names)}. Use the data config the model was fitted with "
            "(such as data=mall), which renames the file's headers, or rename the columns."
        )
    return found


def scored_chunks(
    stream: CustomerStream,
    model: SegmentModel,
    found: Mapping[str, str],
    *,
    decimal: str = ".",
) -> Iterator[ScoredChunk]:
    """Score a file chunk by chunk; memory does not grow with the file.

    Parameters
    ----------
    stream : CustomerStream
    model : SegmentModel
    found : mapping
        From `headers`. If a column of the model is missing, no row can be scored.
    decimal : {".", ","}
        Decimal mark of numbers in text.
    """
    for chunk in stream.chunks:
        raw = {name: chunk.table[header].combine_chunks() for name, header in found.items()}
        flags = _flags(model)
        typed = pd.DataFrame(
            {
                column["name"]: _typed(raw[column["name"]], column, decimal, flags)
                for column in model.columns
                if column["name"] in raw
            },
            index=pd.RangeIndex(chunk.table.num_rows),
        )
        customers, faults = model.check(typed)
        good = np.ones(len(typed), dtype=bool)
        for fault in faults:
            good &= False if fault.bad is None else ~fault.bad
        answer, measured = (
            model.assign(customers if good.all() else customers[good], details=True)
            if good.any()
            else (_no_answer(), np.ones(0, dtype=bool))
        )
        rejects = _rejects(chunk, raw, faults, ~good, answer.index[~measured].to_numpy())
        good[answer.index[~measured]] = False
        yield ScoredChunk(
            rows=chunk.table if good.all() else chunk.table.filter(pa.array(good)),
            answer=answer if measured.all() else answer[measured],
            customers=customers,
            rejects=rejects,
            read=chunk.read,
        )


def _no_answer() -> pd.DataFrame:
    kinds = {
        "segment": "int64",
        "segment_name": "object",
        "distance": "float64",
        "second_segment": "Int64",
        "margin": "float64",
        "in_range": "bool",
    }
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()}).set_index(
        pd.RangeIndex(0)
    )


def _flags(model: SegmentModel) -> set[str]:
    """Return the columns that were 0/1 in training; only they read true and false as 1 and 0."""
    features = [] if model.reference is None else model.reference["features"]
    return {f["name"] for f in features if set(f.get("edges", [2])) <= {0, 1}}


def _typed(raw: pa.Array, column: InputColumn, decimal: str, flags: set[str]) -> Any:
    """Convert values to the model's input: text for text categories, else float64 with NaN."""
    allowed = column.get("categories")
    if allowed is not None and all(isinstance(value, str) for value in allowed):
        return to_pandas(as_text(raw))
    if not any(is_text(raw.type) for is_text in _TEXT):
        typed = parse(raw)
        values = typed.values if typed.kind == "number" else pa.nulls(len(raw), pa.float64())
        return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if decimal == ".":
        try:  # most columns have no faults
            return pc.utf8_trim_whitespace(raw).cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass
    text = as_text(raw)
    if column["name"] in flags:
        yes = pc.if_else(pc.starts_with(text, "t", ignore_case=True), "1", "0")
        text = pc.if_else(pc.match_substring_regex(text, _BOOLEAN), yes, text)
    bad = np.zeros(len(text), dtype=bool)
    bad[not_numbers(text, decimal)[0]] = True
    text = pc.if_else(pa.array(bad), None, text)
    if decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    return text.cast(pa.float64()).to_numpy(zero_copy_only=False)


def _rejects(
    chunk: Chunk,
    raw: Mapping[str, pa.Array],
    faults: Sequence[Fault],
    bad: NDArray[np.bool_],
    far: NDArray[np.intp],
) -> list[Reject]:
    """Return the rows without a segment, each with the reason."""
    reasons: dict[int, list[tuple[str, str]]] = {int(row): [] for row in np.flatnonzero(bad)}
    for fault in faults:
        if fault.bad is None:
            for row in reasons:
                reasons[row].append((f"{fault.column} is missing", f"no column {fault.column}"))
            continue
        rows = np.flatnonzero(fault.bad)
        given = raw[fault.column].take(pa.array(rows)).to_pylist()
        missing = as_text(raw[fault.column].take(pa.array(rows))).is_null().to_pylist()
        for row, value, none in zip(rows.tolist(), given, missing, strict=True):
            reasons[row].append(_reason(fault, value, missing=none))
    too_far = "too far from the training data to measure a distance"
    reasons.update({int(row): [(too_far, too_far)] for row in far})
    unscored = sorted(reasons)
    rejects = [
        Reject(
            line.line,
            line.fields,
            f"{len(line.fields)} fields, the header has {chunk.table.num_columns}",
            "wrong number of fields",
        )
        for line in chunk.ragged
    ]
    if unscored:
        table = chunk.table.take(pa.array(unscored))
        fields = zip(*(column.to_pylist() for column in table.columns), strict=True)
        for row, number, values in zip(unscored, chunk.number(unscored), fields, strict=True):
            texts, kinds = zip(*reasons[row], strict=True)
            rejects.append(Reject(number, values, "; ".join(texts), kinds[0]))
    return sorted(rejects, key=lambda reject: reject.number)


def _reason(fault: Fault, value: Any, *, missing: bool) -> tuple[str, str]:
    if missing:
        return f"{fault.column} is missing", f"{fault.column} missing"
    shown = repr(value) if len(repr(value)) <= 40 else repr(value)[:39] + "…"
    kind = "unseen category" if fault.wanted.startswith("one of") else "no usable number"
    return f"{fault.column} must be {fault.wanted}, not {shown}", f"{fault.column} {kind}"


class Progress:
    """Prints a line on stderr every few seconds, for files that take longer."""

    def __init__(self) -> None:
        self.started = self.said = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.started

    def say(self, tally: Tally, read: float) -> None:
        """Print the progress, unless a line was printed a moment ago."""
        if time.monotonic() - self.said < PROGRESS:
            return
        self.said = time.monotonic()
        rate = tally.read / self.seconds()
        print(f"  {tally.read:,} rows, {read:.0%}, {rate:,.0f} rows/s", file=sys.stderr, flush=True)
