"""Read the customers of a configuration, a logged run or a sweep, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from segmentation.config import (
    DataConfig,
    DataOnly,
    EngineConfig,
    FitConfig,
    engine_options,
    load,
)
from segmentation.data import sources
from segmentation.data.customers import Customers, require_columns
from segmentation.data.sources import SOURCES
from segmentation.errors import DataError
from segmentation.features.feature_set import FeatureSet
from segmentation.runtime.progress import Say, silent

if TYPE_CHECKING:
    from segmentation.clustering.engine_table import SparkOptions
    from segmentation.spark.sample import SparkCustomers, SparkSampler

#: Identity of a table: its data config, and the options and seed if Spark samples it.
Key = tuple[DataConfig, "SparkOptions | None", int]


@dataclass(frozen=True)
class RunCustomers:
    """The customers as one configuration needs them.

    Attributes
    ----------
    customers : Customers
        With the columns of the feature set; a sample if the table is in Spark.
    reference : DataFrame or None
        The same customers in the columns of the reference space, ``compare.reference`` or all
        numeric ones; None if these cannot be used, for example because of missing values outside
        the feature set.
    in_spark : SparkCustomers or None
        All customers, if Spark has read them.
    """

    customers: Customers
    reference: pd.DataFrame | None
    in_spark: SparkCustomers | None = None


class CustomerTable:
    """A table that is read once and returns customers with different columns.

    Parameters
    ----------
    key : tuple
        From `table_key`.
    say : callable
        Takes lines of progress.

    Raises
    ------
    DataError, ConfigError
        The table, or an option, cannot be used.
    """

    def __init__(self, key: Key, say: Say = silent) -> None:
        self.key = key
        data, spark_options, seed = key
        # Runs of one sweep request the same columns again.
        self._known: dict[tuple[str, ...] | None, Customers] = {}
        self._sampler: SparkSampler | None = None
        if spark_options is None:
            self._select = sources.read(data, say)
        else:
            # Imported lazily: Spark is an optional dependency.
            from segmentation.spark.session import open_session

            spark = open_session(spark_options, say)
            from segmentation.spark.source import read

            self._sampler = read(spark, data, spark_options, seed=seed, say=say)

    def customers(self, columns: tuple[str, ...] | None) -> Customers:
        """Return the customers with these columns checked; a sample if the table is in Spark.

        Parameters
        ----------
        columns : tuple of str or None
            None for all columns, of which the numeric ones are checked.

        Raises
        ------
        DataError
            A column does not exist, or a value in it cannot be used.
        """
        if self._sampler is not None:
            return self._sampler.customers(columns).sample
        if columns not in self._known:
            self._known[columns] = self._select(columns=columns)
        return self._known[columns]

    def shared(self) -> Customers:
        """Return the customers with all columns that can be used.

        A mistake in a column does not matter unless a run uses it; that run reports it.
        """
        try:
            return self.customers(None)
        except DataError:
            return self.customers(())

    def of(self, config: FitConfig) -> RunCustomers:
        """Return the customers as a configuration needs them.

        Raises
        ------
        DataError
            A column does not exist, or a value in it cannot be used.
        """
        columns = columns_of(config)
        customers = self.customers(columns)
        in_spark = None if self._sampler is None else self._sampler.customers(columns)
        return RunCustomers(customers, self._reference(config.compare.reference), in_spark)

    def _reference(self, columns: list[str] | None) -> pd.DataFrame | None:
        try:
            everything = self.customers(None)
            if columns is not None:
                require_columns(columns, list(everything.frame.columns), everything.source)
        except DataError:
            if columns is not None:
                raise
            return None
        return everything.frame[columns] if columns else everything.frame.select_dtypes("number")


def table_key(data: DataConfig, engine: EngineConfig, seed: int) -> Key:
    """Return the identity of a config's table: equal keys mean the same customers and sample."""
    if engine.name == "spark" and "fit" in SOURCES[data.source].spark:
        return data, engine_options(engine), seed
    return data, None, 0


def customers_of(config: FitConfig, say: Say = silent) -> RunCustomers:
    """Read the customers as a configuration needs them.

    Parameters
    ----------
    config : FitConfig
    say : callable
        Takes lines of progress.

    Raises
    ------
    DataError, ConfigError
        The file, a column or an option cannot be used.
    """
    read = CustomerTable(table_key(config.data, config.engine, config.seed), say).of(config)
    # Release the memory of the columns as read, which the customers no longer use.
    pa.default_memory_pool().release_unused()
    return read


def stored_table(stored: Mapping[str, Any], say: Say = silent) -> CustomerTable:
    """Read the customers of a logged run, or those the jobs of a sweep share.

    Parameters
    ----------
    stored : mapping
        The run's config, from `segmentation.experiments.stored_config`, or the part that the
        configs of all jobs share.
    say : callable
        Takes lines of progress.
    """
    parts = {key: stored[key] for key in ("data", "engine", "seed") if key in stored}
    config = load(parts, DataOnly)
    return CustomerTable(table_key(config.data, config.engine, config.seed), say)


def columns_of(config: FitConfig) -> tuple[str, ...] | None:
    """Return the columns a configuration clusters on; None if they depend on the table."""
    features = feature_set(config)
    return features.columns if features is not None and features.columns else None


def feature_set(config: FitConfig) -> FeatureSet | None:
    """Return the feature set of a config; None for all numeric columns without options."""
    chosen = asdict(config.features)
    if chosen["columns"] is None and config.data.default_features is not None:
        chosen |= config.data.default_features
    if chosen["columns"] is None:
        extras = [key for key in ("log1p", "weights", "categorical") if chosen[key]]
        if not extras and chosen["profile"] is None:
            return None
        chosen["columns"] = []
    if config.features.name == "auto" and config.features.columns is not None:
        chosen["name"] = ""
    return FeatureSet(
        name=chosen["name"],
        columns=tuple(chosen["columns"]),
        log1p=tuple(chosen["log1p"]),
        weights=chosen["weights"],
        categorical=tuple(chosen["categorical"]),
        profile=None if chosen["profile"] is None else tuple(chosen["profile"]),
    )
