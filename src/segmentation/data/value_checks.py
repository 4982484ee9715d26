"""Check for values that cannot be clustered on: mistakes, overlarge numbers, missing values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segmentation.data.columns import Column, not_numbers
from segmentation.data.extra_columns import LARGEST
from segmentation.data.files import RawTable
from segmentation.errors import ConfigError, DataError

_SHOWN = 5


def check_decimal(decimal: str) -> None:
    """Raise a `ConfigError` unless `decimal` is a decimal mark."""
    if decimal not in (".", ","):
        raise ConfigError(f"data.decimal={decimal!r} is not allowed; use '.' or ','.")


def advice_on_numbers(decimal: str, *, other_mark: bool) -> str:
    """Return advice on texts that are not numbers.

    Parameters
    ----------
    decimal
        The decimal mark the texts were read with.
    other_mark
        Whether all of them are numbers with the other decimal mark.
    """
    mark = "," if decimal == "." else "."
    if other_mark:
        return (
            f"Is '{mark}' the decimal mark? If so, set data.decimal='{mark}' and remove "
            "thousands separators."
        )
    return (
        "Correct them and remove currency signs and thousands separators. An empty field counts "
        "as a missing value."
    )


def check_values(raw: RawTable, name: str, column: Column, decimal: str) -> None:
    """Raise a `DataError` that says where a column has values that cannot be clustered on."""
    where = f"{raw.source}, column '{name}'"
    if column.kind == "unusable":
        kind = raw.columns[raw.names.index(name)].type
        raise DataError(f"{where} has type {kind}; numbers or text are needed.")
    if column.values.null_count == len(column.values):
        raise DataError(f"{where} is empty: leave it out of features.columns.")
    if column.kind == "mixed":
        bad, other_mark = not_numbers(column.values, decimal)
        values = ", ".join(repr(v) for v in column.values.take(pa.array(bad[:_SHOWN])).to_pylist())
        advice = advice_on_numbers(decimal, other_mark=other_mark)
        mask = np.zeros(len(column.values), dtype=bool)
        mask[bad] = True
        raise DataError(
            f"{where}: not a number: {values} ({len(bad)} in all; {raw.places(mask)}). {advice}"
        )
    if column.kind == "number":
        numbers = column.values.to_numpy(zero_copy_only=False)
        with np.errstate(invalid="ignore"):
            too_large = np.abs(numbers.astype(np.float64, copy=False)) > LARGEST
        if too_large.any():
            value = float(numbers[too_large][0])
            kind = f"beyond {LARGEST:g}, too large to square" if np.isfinite(value) else "infinite"
            raise DataError(
                f"{where}: {kind}: {value} ({int(too_large.sum())} in all; "
                f"{raw.places(too_large)}). Correct it or leave the field empty."
            )


def handle_missing(
    raw: RawTable, table: dict[str, Column], used: Sequence[str], policy: str
) -> tuple[dict[str, Column], pa.Array | None, list[str]]:
    """Apply the policy; return the table, the rows kept (None for all) and the notes."""
    masks = {
        n: table[n].values.is_null().to_numpy(zero_copy_only=False)
        for n in used
        if table[n].values.null_count
    }
    if not masks:
        return table, None, []
    per_column = ", ".join(
        f"{name} {int(mask.sum())} ({raw.places(mask)})" for name, mask in masks.items()
    )
    if policy == "error":
        raise DataError(
            f"{raw.source}: missing values in {per_column}. Fill them in, or set "
            "data.missing=drop or data.missing=median."
        )
    if policy == "drop":
        dropped = np.logical_or.reduce(list(masks.values()))
        keep = pa.array(~dropped)
        kept = {n: replace(c, values=c.values.filter(keep)) for n, c in table.items()}
        note = f"rows dropped: {int(dropped.sum())}, for missing values in {per_column}"
        return kept, keep, [note]
    filled, notes = dict(table), []
    for name, mask in masks.items():
        if table[name].kind == "text":
            raise DataError(
                f"{raw.source}: values of text column '{name}' are missing ({int(mask.sum())}: "
                f"{raw.places(mask)}) and text has no median; set data.missing=drop."
            )
        values = table[name].values
        median = float(np.median(values.drop_null().to_numpy()))
        if pa.types.is_integer(values.type) and not median.is_integer():
            values = values.cast(pa.float64())
        filled[name] = Column(pc.fill_null(values, pa.scalar(median).cast(values.type)), "number")
        notes.append(
            f"missing values of {name} filled with its median {median:g} "
            f"({int(mask.sum())}: {raw.places(mask)})"
        )
    return filled, None, notes
