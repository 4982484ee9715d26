"""Read a customer table that stays in Spark, and compute facts over all of its rows.

Columns are named by position inside Spark (``c0``, ``c1``, …), so that no name needs quoting.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as sf

from segmentation.config import DataConfig
from segmentation.data.customers import ID_NAME, require_columns
from segmentation.errors import ConfigError, DataError

#: The rank of a quantile is off by at most this share of the rows.
RANK_ACCURACY = 1e-6

_WHOLE = ("tinyint", "smallint", "int", "bigint", "boolean")
_BROKEN = ("float", "double", "decimal")


@dataclass(frozen=True)
class Facts:
    """Statistics of a column over all rows.

    Attributes
    ----------
    kind : {"number", "text", "unusable"}
    type : str
        Spark's name of the type.
    missing : int
        Number of rows without a value; NaN counts as missing.
    low, high, mean, std : float
        Statistics of a numeric column; `std` is the population standard deviation.
    """

    kind: str
    type: str
    missing: int = 0
    low: float = np.nan
    high: float = np.nan
    mean: float = np.nan
    std: float = np.nan


@dataclass(frozen=True, eq=False)
class SparkTable:
    """All rows of a table, before anything is done about missing values.

    Attributes
    ----------
    frame : pyspark DataFrame
        The usable columns: numbers as bigint or double (NaN is null), text; the ids as text.
    names : tuple of str
        Names of all columns; the one at position i is ``ci`` in `frame`.
    facts : mapping of str to Facts
        Facts of every column except the ids.
    id : str or None
        Name of the id column.
    rows : int
    digest : str
        SHA-256 of names, types and the sum of a 64-bit hash of every row: it does not depend on
        the order of the rows or on the partitions. xxHash64 detects accidental changes; it does
        not protect against somebody who constructs two tables with the same digest.
    source : str
    notes : tuple of str
    """

    frame: DataFrame
    names: tuple[str, ...]
    facts: Mapping[str, Facts]
    id: str | None
    rows: int
    digest: str
    source: str
    notes: tuple[str, ...]

    def inside(self, name: str) -> str:
        """Return the name of a column in `frame`."""
        return f"c{self.names.index(name)}"

    @property
    def usable(self) -> list[str]:
        """Columns of numbers or text, starting with the ids."""
        ids = [] if self.id is None else [self.id]
        return [*ids, *(n for n, facts in self.facts.items() if facts.kind != "unusable")]


def read_table(spark: SparkSession, data: DataConfig) -> SparkTable:
    """Read the table that ``data.path`` or ``data.table`` names, with one pass over all rows.

    Raises
    ------
    DataError
        Spark cannot read the table, or it holds no customers.
    """
    raw, source = open_table(spark, data)
    with spark_errors(source):
        names = [data.rename.get(name.strip(), name.strip()) for name in raw.columns]
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{source}: {names.count(name)} columns are called '{name}'.")
        id_, notes = _id_column(names, data, source)
        types = [kind for _, kind in raw.dtypes]
        inside = [f"c{position}" for position in range(len(names))]
        plain = raw.toDF(*inside)
        columns = {i: kind for i, kind, n in zip(inside, types, names, strict=True) if n != id_}
        id_inside = None if id_ is None else inside[names.index(id_)]
        typed = [_typed(name, kind) for name, kind in columns.items() if _kind(kind)]
        ids = [] if id_inside is None else [sf.trim(sf.col(id_inside).cast("string"))]
        frame = plain.select(*(text.alias(str(id_inside)) for text in ids), *typed)
        # One job computes everything over all rows, since reading takes most of its time.
        hashed = _hash(plain, types).alias("hash")
        known, (rows, with_id, *sums) = known_facts(
            plain.select(hashed, *(text.alias("id") for text in ids or [sf.lit("")]), *typed),
            columns,
            [sf.count(sf.lit(1)), sf.count("id"), *map(sf.sum, _parts("hash"))],
        )
    if rows < 2:
        raise DataError(f"{source} has {rows or 'no'} customers: at least 2 rows are needed.")
    if with_id < rows:
        raise DataError(
            f"{source}, column '{id_}': missing ids ({rows - with_id:,}). If another column holds "
            "the ids, set data.id."
        )
    facts = {names[int(name[1:])]: each for name, each in known.items()}
    content = repr([list(zip(names, types, strict=True)), rows, sums])
    digest = hashlib.sha256(content.encode()).hexdigest()
    return SparkTable(frame, tuple(names), facts, id_, rows, digest, source, notes)


@contextlib.contextmanager
def spark_errors(source: str) -> Iterator[None]:
    """Convert Spark's errors to a `DataError` that names the table."""
    try:
        yield
    except (PySparkException, Py4JJavaError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        cause = next((line for line in lines if "Caused by" in line), (lines or ["unknown"])[0])
        raise DataError(f"{source}: Spark reports: {cause.removeprefix('Caused by: ')}") from error


def quantiles(
    frame: DataFrame, columns: Sequence[Column | str], probabilities: Sequence[float]
) -> NDArray[np.float64]:
    """Compute quantiles over all rows; their ranks are off by at most `RANK_ACCURACY` of the rows.

    Returns
    -------
    ndarray of shape (columns, probabilities)
    """
    accuracy = round(1 / RANK_ACCURACY)
    asked = [sf.percentile_approx(c, list(probabilities), accuracy) for c in columns]
    return np.array(frame.agg(*asked).collect()[0], dtype=np.float64)


def open_table(spark: SparkSession, data: DataConfig) -> tuple[DataFrame, str]:
    """Open the table that ``data.path`` or ``data.table`` names; return it and its display name.

    Raises
    ------
    ConfigError
        Both are set, or neither.
    DataError
        Spark cannot read the table.
    """
    if (data.table is None) == (data.path is None):
        raise ConfigError(
            "data=spark_table reads either a file or folder, data.path=…, or a table of Spark's "
            "catalogue, data.table=…; set one of them."
        )
    source = data.table or Path(str(data.path)).name
    with spark_errors(source):
        frame = _read(spark, data)
        # An index that pandas stored without a name.
        return frame.drop(*(n for n in frame.columns if n.startswith("__index_level_"))), source


def _read(spark: SparkSession, data: DataConfig) -> DataFrame:
    if data.table is not None:
        return spark.read.table(data.table)
    path = str(data.path)
    if "://" not in path and Path(path).expanduser().exists():
        path = Path(path).expanduser().absolute().as_uri()
    kind = data.format or ("csv" if data.source == "csv" or _is_csv(path) else "parquet")
    reader = spark.read.format(kind)
    if kind == "csv":
        reader = reader.options(
            header=True,
            inferSchema=True,
            sep=data.delimiter or ",",
            encoding=data.encoding or "UTF-8",
            mode="FAILFAST",
        )
    return reader.load(path)


def _is_csv(path: str) -> bool:
    name = path.rstrip("/").lower().removesuffix(".gz")
    return name.endswith((".csv", ".tsv", ".txt"))


def _id_column(
    names: Sequence[str], data: DataConfig, source: str
) -> tuple[str | None, tuple[str, ...]]:
    if data.id is None:
        alike = (n for n in names if ID_NAME.match(n) and n.lower().endswith("id"))
        found = next(alike, None)
        return found, () if found is None else (f"column '{found}' used as id",)
    asked = data.id if data.id in names else data.rename.get(data.id, data.id)
    require_columns([asked], names, source)
    return asked, ()


def _hash(plain: DataFrame, types: Sequence[str]) -> Column:
    """Hash a row over all columns that Spark can hash."""
    several = zip(plain.columns, types, strict=True)
    return sf.xxhash64(*(n for n, kind in several if "map<" not in kind and kind != "variant"))


def _parts(name: str) -> list[Column]:
    """Split a 64-bit number into parts, since the sum of such numbers overflows."""
    return [sf.shiftrightunsigned(name, 24 * part).bitwiseAND(0xFFFFFF) for part in range(3)]


def _kind(type_: str) -> str | None:
    kind = type_.partition("(")[0]
    if kind in _WHOLE or kind in _BROKEN:
        return "number"
    return "text" if kind in ("string", "char", "varchar") else None


def _typed(name: str, kind: str) -> Column:
    if kind in _WHOLE:
        return sf.col(name).cast("bigint").alias(name)
    if _kind(kind) == "number":
        return sf.nanvl(sf.col(name).cast("double"), sf.lit(None)).alias(name)
    return sf.nullif(sf.trim(sf.col(name)), sf.lit("")).alias(name)


def known_facts(
    frame: DataFrame, columns: Mapping[str, str], others: Sequence[Column] = ()
) -> tuple[dict[str, Facts], list[Any]]:
    """Compute facts of columns over all rows, and other aggregates in the same job.

    Parameters
    ----------
    frame : pyspark DataFrame
        Holds those of the columns that are usable, as `SparkTable.frame` does.
    columns : mapping of str to str
        Types in the table by names in `frame`.
    others : sequence of Column
        Other aggregates.
    """
    asked: list[Column] = [sf.count(sf.lit(1)), *others]
    for name, kind in columns.items():
        if _kind(kind) is not None:
            asked.append(sf.count(name))
        if _kind(kind) == "number":
            asked += [sf.min(name), sf.max(name), sf.avg(name), sf.stddev_pop(name)]
    rows, *values = frame.agg(*asked).collect()[0]
    told, found = values[: len(others)], iter(values[len(others) :])
    facts = {}
    for name, kind in columns.items():
        missing = rows - next(found) if _kind(kind) is not None else 0
        numbers = [next(found) for _ in range(4)] if _kind(kind) == "number" else []
        floats = [float("nan" if value is None else value) for value in numbers]
        facts[name] = Facts(_kind(kind) or "unusable", kind, missing, *floats)
    return facts, told
