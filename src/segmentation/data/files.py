"""Find customer files and read their raw columns.

`segmentation.data.customers` interprets the values (numbers, ids, missing values).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from segmentation.errors import ConfigError, DataError

_SHOWN = 5


@dataclass(frozen=True)
class RawTable:
    """The raw columns of a file, and the row numbers to use in messages.

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
        """Describe the first places where `mask` is true: "line 3" or "lines 3, 9, ..."."""
        rows = np.flatnonzero(mask)
        numbers = ", ".join(str(n) for n in self.number(rows[:_SHOWN].tolist()))
        unit = self.unit if len(rows) == 1 else f"{self.unit}s"
        return f"{unit} {numbers}{', ...' if len(rows) > _SHOWN else ''}"


def read_parquet_table(path: str | Path) -> RawTable:
    """Read a Parquet file; an unnamed pandas index stored with it is left out.

    Raises
    ------
    DataError
        The file is missing, damaged or not Parquet.
    """
    name = existing_file(path).name
    try:
        with open_parquet(path) as parquet:
            names = [
                name for name in parquet.schema_arrow.names if not name.startswith("__index_level_")
            ]
            # One column at a time: reading the whole table first would hold it in memory twice.
            columns = tuple(_one_array(parquet.read([name])) for name in names)
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(name, error) from None
    return RawTable(
        names=tuple(names),
        columns=columns,
        source=name,
        unit="row",
        number=lambda rows: [row + 1 for row in rows],
    )


def open_parquet(path: str | Path) -> pa_parquet.ParquetFile:
    """Open a Parquet file; errors as in `read_parquet_table`."""
    file = existing_file(path)
    try:
        return pa_parquet.ParquetFile(file)
    except PermissionError:
        raise DataError(f"No permission to read {file}.") from None
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(file.name, error) from None


def _not_parquet(name: str, error: Exception) -> DataError:
    reason = str(error).splitlines()[0].split(". ")[0]
    return DataError(
        f"{name} is not a readable Parquet file ({reason}). Read a text file with data=csv."
    )


def _one_array(table: pa.Table) -> pa.Array:
    chunks = table.column(0).chunks
    return pa.concat_arrays(chunks) if chunks else pa.array([], table.column(0).type)


def existing_file(path: str | Path) -> Path:
    """Return the absolute path of an existing file, or raise a `DataError` that helps find it."""
    if not str(path).strip():
        raise ConfigError("data.path is empty: name the customer file, data.path=customers.csv")
    file = Path(path).expanduser().absolute()
    try:
        if file.is_file():
            return file
        if file.is_dir():
            raise DataError(f"data.path is a folder: {file}. Name a file in it.")
        if not file.parent.is_dir():
            raise DataError(f"No such file: {file} (there is no folder {file.parent}).")
        others = [entry.name for entry in file.parent.iterdir() if entry.is_file()]
    except PermissionError:
        raise DataError(f"No permission to read {file}.") from None
    near = difflib.get_close_matches(file.name, others, n=3, cutoff=0.5)
    hint = f" Similar names there: {', '.join(near)}." if near else " Check data.path."
    raise DataError(f"No such file: {file}.{hint}")
