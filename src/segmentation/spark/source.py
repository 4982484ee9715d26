"""Read the customers that a config names with Spark."""

from __future__ import annotations

from pyspark.sql import SparkSession

from segmentation.clustering.engine_table import SparkOptions
from segmentation.config import DataConfig
from segmentation.runtime.progress import Say
from segmentation.spark.sample import SparkSampler
from segmentation.spark.table import read_table

#: Number of rows used for the search, the evidence, the figures and the profiles.
SAMPLE = 100_000


def read(
    spark: SparkSession, data: DataConfig, options: SparkOptions, *, seed: int, say: Say
) -> SparkSampler:
    """Read a table to draw samples from.

    Parameters
    ----------
    spark : SparkSession
    data : DataConfig
    options : SparkOptions
    seed : int
        Seed of the sample.
    say : callable
        Receives lines of progress.

    Raises
    ------
    DataError
        The table cannot be read.
    """
    say(f"Reading all rows of {data.table or data.path} …")
    table = read_table(spark, data)
    return SparkSampler(table, missing=data.missing, size=options.sample or SAMPLE, seed=seed)
