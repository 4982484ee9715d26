"""The customers a config names, in Spark: read once per session, whoever asks."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict

from pyspark.sql import SparkSession

from segmentation.config import DataConfig, EngineConfig
from segmentation.spark.sample import SparkCustomers, customers_of
from segmentation.spark.session import Say, open_session
from segmentation.spark.table import SparkTable, read_table

#: Rows that the search, the evidence, the figures and the profiles see.
SAMPLE = 100_000


def read(
    data: DataConfig,
    engine: EngineConfig,
    columns: Sequence[str] | None,
    *,
    seed: int,
    modified: int | None,
    say: Say,
) -> SparkCustomers:
    """Read a table and draw its sample.

    Parameters
    ----------
    data, engine : DataConfig, EngineConfig
    columns : sequence of str, optional
        Columns that must be there and complete; all numeric ones when None.
    seed : int
        Of the sample.
    modified : int, optional
        When a local file was changed last: a changed file is read again.
    say : callable
        Takes lines of progress.

    Raises
    ------
    ConfigError
        Spark does not start.
    DataError
        The table, or a value in it, cannot be used.
    """
    spark = open_session(engine, say)
    key = json.dumps(asdict(data), sort_keys=True)
    if (spark, key, modified) not in _announced:
        _announced[:] = [(spark, key, modified)]
        say(f"Reading all rows of {data.table or data.path} …")
    table = _table(spark, key, modified)
    size = engine.sample or SAMPLE
    return customers_of(table, columns, missing=data.missing, size=size, seed=seed)


# Said once, not by everyone who asks for the same table.
_announced: list[tuple[SparkSession, str, int | None]] = []


@functools.lru_cache(maxsize=2)
def _table(spark: SparkSession, key: str, modified: int | None) -> SparkTable:
    return read_table(spark, DataConfig(**json.loads(key)))
