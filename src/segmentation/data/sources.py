"""The table of data sources, one line for each kind.

A line says how the source is read and which keys of `data` it takes in addition to the common ones.
The config schema, the key checks and the examples in messages are derived from the table. To add a
source, add a line (and a YAML file in ``conf/data`` that names it)::

    @dataclass
    class JsonLines:
        path: str = field(metadata={"example": "customers.jsonl"})

    def read_json_lines(options: JsonLines, common: DataOptions) -> Select:
        frame = pd.read_json(options.path, lines=True)
        return partial(from_frame, frame, source="customers.jsonl", **common.checks())

    SOURCES["jsonl"] = Source("a file with one JSON object per line", JsonLines, read_json_lines)

Readers import what they need when they are called: `segment --help` loads this module, but not
pandas.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from segmentation.errors import ConfigError, not_set
from segmentation.runtime.progress import Say, silent

if TYPE_CHECKING:
    from segmentation.data.customers import Customers
    from segmentation.data.streaming import CustomerStream

Options = TypeVar("Options")


class Select(Protocol):
    """A table that has been read and returns its customers with the requested columns.

    A run needs them twice: with the columns it clusters on and with all numeric ones. The runs of a
    sweep need different columns of one table. The file is read once for all of them.
    """

    def __call__(self, *, columns: Sequence[str] | None) -> Customers:
        """See `segmentation.data.customers.read_csv` for `columns`."""


@dataclass
class DataOptions:
    """The keys of `data` that every source has.

    Attributes
    ----------
    source : str
        A name of `SOURCES`.
    id : str or None
        The column that identifies a customer.
    missing : {"error", "drop", "median"}
        What to do about missing values.
    rename : mapping of str to str
        Column name by header.
    default_features : mapping or None
        The meaning of ``features=auto``.
    """

    source: str = "???"
    id: str | None = None
    missing: str = "error"
    rename: dict[str, str] = field(default_factory=dict)
    default_features: dict[str, Any] | None = None

    def checks(self) -> dict[str, Any]:
        """Return the arguments that every table reader takes."""
        return {"id": self.id, "missing": self.missing, "rename": self.rename}


@dataclass(frozen=True)
class Source(Generic[Options]):
    """One kind of data source.

    Attributes
    ----------
    help : str
        Description in a few words.
    options : type
        Dataclass of the source's own keys; those without a default are required. ``example`` in a
        field's metadata is shown when the key is missing.
    read : callable or None
        Reads the customers; None if only Spark can.
    stream : callable or None
        Opens the customers for reading in chunks, for tables larger than memory; None reads them
        all at once.
    without : tuple of str
        Common keys that do not apply to this source.
    spark : tuple of str
        Commands for which Spark reads the source itself, with ``engine=spark``.
    """

    help: str
    options: type[Options]
    read: Callable[[Options, DataOptions], Select] | None
    stream: Callable[[Options, DataOptions], CustomerStream] | None = None
    without: tuple[str, ...] = ()
    spark: tuple[str, ...] = ()


@dataclass
class DemoOptions:
    """Generated customers."""

    customers: int = 200
    seed: int = 0


@dataclass
class ParquetOptions:
    """A Parquet file."""

    path: str = field(metadata={"example": "customers.parquet"})


@dataclass
class CsvOptions:
    """A text file, plain or gzipped."""

    path: str = field(metadata={"example": "customers.csv"})
    delimiter: str | None = None
    decimal: str = "."
    encoding: str | None = None


@dataclass
class TransactionOptions(CsvOptions):
    """A purchase log, CSV or Parquet."""

    date: str = "date"
    amount: str | None = None
    price: str | None = None
    quantity: str | None = None
    as_of: str | None = None
    returns: str = "net"
    date_format: str | None = None


@dataclass
class SqlOptions:
    """A query in a database."""

    url: str = field(metadata={"example": "sqlite:///shop.db"})
    query: str = field(metadata={"example": "customers.sql"})


@dataclass
class SparkTableOptions:
    """A file, folder or catalogue table that Spark reads."""

    path: str | None = None
    table: str | None = None
    format: str | None = None
    delimiter: str | None = None
    encoding: str | None = None


def _demo(options: DemoOptions, common: DataOptions) -> Select:
    from functools import partial

    from segmentation.data.customers import from_frame
    from segmentation.data.demo import generate_customers

    frame = generate_customers(options.customers, options.seed)
    return partial(from_frame, frame, **{**common.checks(), "id": "customer_id"}, source="demo")


def _csv(options: CsvOptions, common: DataOptions) -> Select:
    from segmentation.data.customers import open_csv

    return open_csv(**vars(options), **common.checks())


def _parquet(options: ParquetOptions, common: DataOptions) -> Select:
    from segmentation.data.customers import open_parquet

    return open_parquet(options.path, **common.checks())


def _transactions(options: TransactionOptions, common: DataOptions) -> Select:
    from segmentation.data.transactions import open_transactions

    given = {**common.checks(), "id": common.id or "customer_id"}
    return open_transactions(**vars(options), **given)


def _sql(options: SqlOptions, common: DataOptions) -> Select:
    from segmentation.data.sql import open_sql

    return open_sql(options.url, options.query, **common.checks())


def _stream_csv(options: CsvOptions, common: DataOptions) -> CustomerStream:
    from segmentation.data.streaming import stream_csv
    from segmentation.data.value_checks import check_decimal

    check_decimal(options.decimal)
    return stream_csv(options.path, delimiter=options.delimiter, encoding=options.encoding)


def _stream_parquet(options: ParquetOptions, common: DataOptions) -> CustomerStream:
    from segmentation.data.streaming import stream_parquet

    return stream_parquet(options.path)


#: Every kind of data source by its name, ``data.source``.
SOURCES: dict[str, Source[Any]] = {
    "demo": Source("generated customers", DemoOptions, _demo, without=("id",)),
    "csv": Source(
        "a text file, plain or gzipped", CsvOptions, _csv, stream=_stream_csv, spark=("score",)
    ),
    "parquet": Source(
        "a Parquet file",
        ParquetOptions,
        _parquet,
        stream=_stream_parquet,
        spark=("fit", "score"),
    ),
    "transactions": Source(
        "a purchase log, CSV or Parquet, one line per purchase", TransactionOptions, _transactions
    ),
    "sql": Source("a query in a database", SqlOptions, _sql),
    "spark_table": Source(
        "a file, folder or catalogue table, with engine=spark",
        SparkTableOptions,
        None,
        spark=("fit", "score"),
    ),
}


def source_keys() -> dict[str, set[str]]:
    """Map each source to the keys it takes, without the keys that all sources take."""
    own = {name: {each.name for each in fields(line.options)} for name, line in SOURCES.items()}
    partly = {key for line in SOURCES.values() for key in line.without}
    return {name: keys | (partly - {*SOURCES[name].without}) for name, keys in own.items()}


def help_text() -> str:
    """Return the sources and their keys as `segment fit --help` lists them."""
    lines = ["Data sources (data.source) and the keys each of them takes:", ""]
    for name, line in SOURCES.items():
        keys = [*(each.name for each in fields(line.options))]
        lines += [f"  {name:<13} {line.help}:", f"  {'':<13} {', '.join(keys)}"]
    common = ", ".join(each.name for each in fields(DataOptions) if each.name != "source")
    return "\n".join([*lines, "", f"All of them take {common}.", ""])


def examples() -> dict[str, str]:
    """Return example values by key, such as ``sqlite:///shop.db`` for ``data.url``."""
    return {
        f"data.{each.name}": each.metadata["example"]
        for line in reversed(SOURCES.values())
        for each in fields(line.options)
        if "example" in each.metadata
    }


def check_keys(data: DataOptions) -> None:
    """Refuse an unknown source, and keys that do not apply to the chosen one.

    Raises
    ------
    ConfigError
    """
    known = source_keys()
    if data.source not in known:
        raise ConfigError(f"data.source={data.source}: allowed are {', '.join(known)}.")
    for key in sorted(set().union(*known.values()) - known[data.source]):
        if getattr(data, key, None) is not None:
            owners = [source for source, keys in known.items() if key in keys]
            raise ConfigError(
                f"data.{key} does not apply to data.source={data.source}; "
                f"it belongs to {' and '.join(owners)}: add data={owners[0]}."
            )


def own_options(data: DataOptions) -> Any:
    """Return the options of the chosen source, with defaults where none are given.

    Raises
    ------
    ConfigError
        A required option is missing.
    """
    kind = SOURCES[data.source].options
    given = {each.name: getattr(data, each.name, None) for each in fields(kind)}
    for each in fields(kind):
        if given[each.name] is None and each.default is dataclasses.MISSING:
            key = f"data.{each.name}"
            raise ConfigError(not_set(key, each.metadata.get("example", "VALUE")))
    return kind(**{key: value for key, value in given.items() if value is not None})


def read(data: DataOptions, say: Say = silent) -> Select:
    """Read the customers a config names, once; the result selects any columns from them.

    Parameters
    ----------
    data : DataOptions
        Includes the keys of its source.
    say : callable
        Receives a progress line if the file is large.

    Raises
    ------
    ConfigError
        An option is missing or has a value that is not allowed.
    DataError
        The customers cannot be read.
    """
    reader = SOURCES[data.source].read
    if reader is None:
        raise ConfigError(f"data={data.source} can only be read by Spark: add engine=spark.")
    options = own_options(data)
    file = Path(getattr(options, "path", None) or "")
    if file.is_file():
        from segmentation.data.customers import LARGE_BYTES

        if file.stat().st_size > LARGE_BYTES:
            say(f"Reading {file.name} …")
    return reader(options, data)


def open_stream(data: DataOptions) -> CustomerStream:
    """Open the customers a config names for reading in chunks.

    Raises
    ------
    ConfigError
        An option does not apply here.
    DataError
        They cannot be read.
    """
    stream = SOURCES[data.source].stream
    if stream is None:
        return _whole(read(data)(columns=None))
    if data.missing != "error":
        raise ConfigError(
            f"data.missing={data.missing} does not apply here: rows with missing values are "
            "counted and listed as rejected, never dropped or filled in. Remove the option."
        )
    return stream(own_options(data), data)


def _whole(customers: Customers) -> CustomerStream:
    """Return customers in memory as a stream of one chunk."""
    import pyarrow as pa

    from segmentation.data.streaming import stream_table

    table = pa.Table.from_pandas(customers.frame, preserve_index=False)
    ids = pa.array(customers.ids.astype(str), pa.large_string())
    return stream_table(table.add_column(0, str(customers.ids.name), ids), customers.source)
