"""Turn a purchase log, one line per purchase, into a table with one row per customer.

`segmentation.data.rfm` defines what counts as a purchase and as a return.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from segmentation.data import customers
from segmentation.data.columns import as_text, not_numbers, parse
from segmentation.data.csv_table import read_csv_table
from segmentation.data.customers import Customers
from segmentation.data.extra_columns import LARGEST
from segmentation.data.files import RawTable, existing_file, read_parquet_table
from segmentation.data.rfm import RETURNS, Purchases, summarise
from segmentation.data.sources import Select
from segmentation.data.value_checks import advice_on_numbers, check_decimal
from segmentation.errors import ConfigError, DataError

MISSING = ("error", "drop")
_EPOCH = dt.date(1970, 1, 1).toordinal()
_ISO_WITH_TIME = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?"
    r" ?(Z|[+-][0-9]{2}:?([0-9]{2})?)?$"
)
_SHOWN = 3

Mask = npt.NDArray[np.bool_]


def read_transactions(
    path: str | Path, *, columns: Sequence[str] | None = None, **options: Any
) -> Customers:
    """Read a purchase log into customers.

    Parameters
    ----------
    path
        The log.
    columns
        Columns of the customers to check and keep; `None` keeps all.
    **options
        As in `open_transactions`; errors too.
    """
    return open_transactions(path, **options)(columns=columns)


def open_transactions(
    path: str | Path,
    *,
    id: str = "customer_id",
    date: str = "date",
    amount: str | None = None,
    price: str | None = None,
    quantity: str | None = None,
    as_of: str | None = None,
    returns: str = "net",
    date_format: str | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
    encoding: str | None = None,
    missing: str = "error",
    rename: Mapping[str, str] | None = None,
) -> Select:
    """Read a purchase log (CSV, gzipped CSV or Parquet) once, to select columns of its customers.

    `segmentation.data.rfm.summarise` lists their columns.

    Parameters
    ----------
    path
        The log; one line per purchase or part of a purchase.
    id, date, amount, price, quantity
        Columns of the log. The amount paid is `amount` (default "amount"), or `price` times
        `quantity`. With `amount`, `quantity` is optional.
    as_of
        Reference day, such as "2011-12-31"; lines from that day on are left out. `None` is the day
        after the last line.
    returns
        "net", "drop" or "keep"; see `segmentation.data.rfm`.
    date_format
        Format for Python's `strptime`. `None` reads 2011-12-31, with or without a time of day, and
        20111231.
    missing
        What to do about lines without customer, date or amount: "error" or "drop".
    delimiter, decimal, encoding, rename
        As in `segmentation.data.customers.open_csv`.

    Raises
    ------
    DataError
        The file or a value in it cannot be used.
    ConfigError
        An option has a value that is not allowed.
    """
    for key, value, allowed in (("returns", returns, RETURNS), ("missing", missing, MISSING)):
        if value not in allowed:
            raise ConfigError(
                f"data.{key}={value} is not allowed for purchases; use {', '.join(allowed)}."
            )
    check_decimal(decimal)
    limit = _as_of(as_of)
    raw = _raw(path, delimiter, encoding)
    names = [(rename or {}).get(name.strip(), name.strip()) for name in raw.names]
    wanted = _columns(id, date, amount, price, quantity)
    columns_of = {
        key: raw.columns[_position(raw.source, names, name, key)] for key, name in wanted.items()
    }

    text = as_text(columns_of["id"])
    day = _days(raw, columns_of["date"], wanted["date"], date_format)
    numbers: dict[str, pa.Array] = {
        key: _numbers(raw, columns_of[key], wanted[key], decimal)
        for key in ("amount", "price", "quantity")
        if key in wanted
    }
    keep, notes = _present(raw, wanted, {"id": text, "date": day, **numbers}, missing)
    log = _purchases(text, day, numbers, keep)
    frame, more = _customers(log, limit, returns, raw.source)
    told, source = (*raw.notes, *notes, *more), raw.source

    def select(*, columns: Sequence[str] | None) -> Customers:
        found = customers.from_frame(frame, id="customer_id", columns=columns, source=source)
        return replace(found, notes=(*told, *found.notes))

    return select


def _as_of(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text).toordinal() - _EPOCH
    except ValueError:
        raise ConfigError(
            f"data.as_of={text} is not a date; write it as 2011-12-31 or 20111231."
        ) from None


def _raw(path: str | Path, delimiter: str | None, encoding: str | None) -> RawTable:
    with existing_file(path).open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet:
        return read_parquet_table(path)
    return read_csv_table(path, delimiter=delimiter, encoding=encoding)


def _columns(
    id: str, date: str, amount: str | None, price: str | None, quantity: str | None
) -> dict[str, str]:
    """Map config keys to columns of the log."""
    if price is not None and amount is not None:
        raise ConfigError(
            "data.amount and data.price cannot both be set: the amount paid is either one column "
            "or price times quantity."
        )
    if price is not None and quantity is None:
        raise ConfigError("data.price needs data.quantity: the amount paid is their product.")
    paid = {"amount": amount or "amount"} if price is None else {"price": price}
    count = {} if quantity is None else {"quantity": quantity}
    return {"id": id, "date": date, **paid, **count}


def _position(source: str, names: Sequence[str], name: str, key: str) -> int:
    if names.count(name) == 1:
        return names.index(name)
    what = f"{names.count(name)} columns" if name in names else "no column"
    raise DataError(
        f"{source} has {what} '{name}' (data.{key}). Columns: {', '.join(names)}. Name the right "
        f"one with data.{key}=COLUMN."
    )


def _days(raw: RawTable, column: pa.Array, name: str, date_format: str | None) -> pa.Array:
    """Return a date column as days since 1970-01-01, null for missing."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column = pc.local_timestamp(column)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.date32(), safe=False).cast(pa.int32()).cast(pa.int64())
    # Many lines share few days: each day is parsed once.
    coded = as_text(column).dictionary_encode()
    texts = coded.dictionary
    if date_format is None:
        texts = pc.replace_substring_regex(texts, _ISO_WITH_TIME, r"\1").dictionary_encode()
        coded = pa.DictionaryArray.from_arrays(texts.indices.take(coded.indices), texts.dictionary)
        texts = coded.dictionary
    days = pa.array([_day(text, date_format) for text in texts.to_pylist()], pa.int64())
    found = days.take(coded.indices)
    if days.null_count:
        bad = found.is_null().to_numpy(zero_copy_only=False) & coded.indices.is_valid().to_numpy(
            zero_copy_only=False
        )
        shown = ", ".join(repr(t) for t in texts.filter(days.is_null())[:_SHOWN].to_pylist())
        wanted = f"data.date_format={date_format}" if date_format else "2011-12-31 or 20111231"
        raise DataError(
            f"{raw.source}, column '{name}': not a date: {shown} ({int(bad.sum())} in all; "
            f"{raw.places(bad)}). The expected format is {wanted}; set another data.date_format, "
            "such as '%d/%m/%Y'."
        )
    return found


def _day(text: str, date_format: str | None) -> int | None:
    try:
        if date_format is None:
            return dt.date.fromisoformat(text).toordinal() - _EPOCH
        return dt.datetime.strptime(text, date_format).toordinal() - _EPOCH
    except ValueError:
        return None


def _numbers(raw: RawTable, column: pa.Array, name: str, decimal: str) -> pa.Array:
    """Return the finite numbers of a column, null for missing."""
    parsed = parse(column, decimal)
    where = f"{raw.source}, column '{name}'"
    if parsed.kind == "unusable" or parsed.values.null_count == len(parsed.values):
        raise DataError(f"{where} holds no numbers.")
    if parsed.kind == "number":
        values = parsed.values.cast(pa.float64())
        numbers = values.to_numpy(zero_copy_only=False)
        bad = np.abs(numbers) > LARGEST
        shown = ", ".join(str(number) for number in numbers[bad][:_SHOWN])
        advice = "Correct it or leave the field empty."
    else:
        rows, other_mark = not_numbers(parsed.values, decimal)
        bad = np.zeros(len(parsed.values), dtype=bool)
        bad[rows] = True
        shown = ", ".join(repr(v) for v in parsed.values.take(rows[:_SHOWN]).to_pylist())
        advice = advice_on_numbers(decimal, other_mark=other_mark)
    if bad.any():
        raise DataError(
            f"{where}: not a number that can be summed: {shown} ({int(bad.sum())} in all; "
            f"{raw.places(bad)}). {advice}"
        )
    return values


def _present(
    raw: RawTable, wanted: Mapping[str, str], values: Mapping[str, pa.Array], missing: str
) -> tuple[Mask | None, list[str]]:
    """Return a mask of the complete lines (None for all), and notes on the others."""
    masks = {
        wanted[key]: column.is_null().to_numpy(zero_copy_only=False)
        for key, column in values.items()
        if column.null_count
    }
    if not masks:
        return None, []
    places = ", ".join(
        f"{name} {int(mask.sum())} ({raw.places(mask)})" for name, mask in masks.items()
    )
    if missing == "error":
        raise DataError(
            f"{raw.source}: missing values in {places}. Fill them in, or leave these lines out "
            "with data.missing=drop."
        )
    absent = np.logical_or.reduce(list(masks.values()))
    return ~absent, [f"lines left out: {int(absent.sum()):,}, for missing values in {places}"]


def _purchases(
    text: pa.Array, day: pa.Array, numbers: Mapping[str, pa.Array], keep: Mask | None
) -> Purchases:
    if keep is not None:
        lines = pa.array(keep)
        text, day = text.filter(lines), day.filter(lines)
        numbers = {key: column.filter(lines) for key, column in numbers.items()}
    coded = text.dictionary_encode()
    # Sorted by id, so that the order of the lines does not matter.
    order = pc.sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    of = {key: column.to_numpy(zero_copy_only=False) for key, column in numbers.items()}
    quantity = of.get("quantity")
    amount = of["price"] * quantity if "price" in of else of["amount"]
    if quantity is not None:
        # Some logs put the minus sign on only one of the two.
        returned = (amount < 0) | (quantity < 0)
        amount = np.where(returned, -np.abs(amount), amount)
        quantity = np.where(returned, -np.abs(quantity), quantity)
    return Purchases(
        ids=coded.dictionary.take(pa.array(order)),
        customer=rank[coded.indices.to_numpy()],
        day=day.to_numpy(),
        amount=amount,
        quantity=quantity,
    )


def _customers(
    log: Purchases, as_of: int | None, returns: str, source: str
) -> tuple[pd.DataFrame, list[str]]:
    """Return the customers as of a day, and notes on the lines used."""
    notes = []
    if as_of is None:
        as_of = int(log.day.max(initial=0)) + 1
    late = log.day >= as_of
    if late.any():
        notes.append(
            f"lines left out: {int(late.sum()):,}, dated {_iso(as_of)} or later (data.as_of)"
        )
        log = log.where(~late)
    if not len(log.day):
        raise DataError(f"{source} has no purchases before {_iso(as_of)} (data.as_of).")
    frame = summarise(log, as_of, returns=returns)
    returned = int(log.returned.sum())
    if returned:
        done = {
            "net": "subtracted from the amount paid",
            "drop": "left out",
            "keep": "kept as purchases",
        }
        notes.append(f"returns: {returned:,}, {done[returns]} (data.returns={returns})")
    only_returns = np.count_nonzero(np.bincount(log.customer)) - len(frame)
    if only_returns:
        notes.append(f"customers left out: {only_returns:,}, with returns but no purchase")
    if frame.empty:
        raise DataError(f"{source} has only returns: no amount is 0 or more.")
    first, last = _iso(int(log.day.min())), _iso(int(log.day.max()))
    purchases = int(frame["frequency"].sum())
    notes.insert(
        0,
        f"{len(log.day):,} lines from {first} to {last}: {purchases:,} purchases (days on which a "
        f"customer bought), as of {_iso(as_of)}",
    )
    return frame, notes


def _iso(day: int) -> str:
    return dt.date.fromordinal(day + _EPOCH).isoformat()
