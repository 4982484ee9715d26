"""Segment a Spark table into an ordinary `SegmentationResult`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from sklearn.base import TransformerMixin

from segmentation.clustering.engine_table import SparkOptions
from segmentation.clustering.spark import SparkRows
from segmentation.data.customers import Customers
from segmentation.features.feature_set import FeatureSet, resolve
from segmentation.features.scaling import scaling_name
from segmentation.pipeline import Encoded, segment_encoded
from segmentation.profiling.naming import Naming
from segmentation.result import SegmentationResult
from segmentation.runtime.progress import Say, silent
from segmentation.spark.encoder import fit_encoder
from segmentation.spark.sample import SparkCustomers
from segmentation.spark.table import Facts, spark_errors

#: Rows per Spark task of a table that was read into memory.
TASK_ROWS = 50_000


def segment_table(
    customers: SparkCustomers,
    *,
    features: FeatureSet | Sequence[str] | None = None,
    scaling: str | Mapping[str, Any] | TransformerMixin = "standard",
    k_min: int = 1,
    k_max: int = 12,
    choice: str | Mapping[str, Any] = "evidence",
    k: int | None = None,
    options: SparkOptions | None = None,
    naming: Naming | None = None,
    seed: int = 0,
    say: Say = silent,
) -> SegmentationResult:
    """Segment the customers of a Spark table; parameters as in `segmentation.pipeline.segment`.

    WCSS, sizes, explained variance, Calinski-Harabasz, Davies-Bouldin and the silhouette of
    squared distances are computed from all rows; what needs single customers uses the sample.

    Parameters
    ----------
    customers : SparkCustomers
        From `segmentation.spark.sample.SparkSampler` or `from_memory`.
    options : SparkOptions, optional
        Options of the engine.
    say : callable
        Receives lines of progress.
    """
    sample = customers.sample
    feature_set = resolve(features, sample)
    columns = list(feature_set.columns)
    with spark_errors(sample.source):
        encoder, note = fit_encoder(customers, feature_set, scaling)
        if note is not None:
            sample = replace(sample, notes=(*sample.notes, note))
        Z = np.ascontiguousarray(encoder.transform(sample.frame), dtype=np.float64)

        def encode(frame: pd.DataFrame) -> NDArray[Any]:
            encoded: NDArray[Any] = encoder.transform(frame)
            return encoded

        inside = [f"`{column.replace('`', '``')}`" for column in columns]
        rows = SparkRows.of(customers.frame.select(*inside), encode, Z, sample.population, say=say)
        try:
            result = segment_encoded(
                Encoded(sample, feature_set, scaling_name(scaling), encoder, Z, rows=rows),
                k_min=k_min,
                k_max=k_max,
                choice=choice,
                k=k,
                engine="spark",
                options=asdict(options or SparkOptions()),
                naming=naming,
                seed=seed,
            )
        except Exception:
            rows.release()
            raise
        # Not released after Ctrl-C, which ends the session and everything in it.
        rows.release()
    return result


def from_memory(
    spark: SparkSession, customers: Customers, *, size: int, seed: int
) -> SparkCustomers:
    """Pass customers in memory to Spark; if they are few, they are all in the sample.

    Parameters
    ----------
    spark : SparkSession
    customers : Customers
        All of them.
    size : int
        Number of rows in the sample.
    seed : int
    """
    frame, ids = customers.frame, customers.ids
    total = len(ids)
    facts = {}
    for name, column in frame.select_dtypes("number").items():
        ends = float(column.min()), float(column.max())
        moments = float(column.mean()), float(column.std(ddof=0))
        facts[str(name)] = Facts("number", str(column.dtype), 0, *ends, *moments)
    sample = replace(customers, total=total)
    if total > size:
        drawn = np.sort(np.random.default_rng(seed).choice(total, size, replace=False))
        others = {
            name: column.iloc[drawn].reset_index(drop=True)
            for name, column in customers.others.columns.items()
        }
        sample = replace(
            sample,
            frame=frame.iloc[drawn].reset_index(drop=True),
            ids=ids.iloc[drawn].reset_index(drop=True),
            others=replace(customers.others, columns=others),
        )
    table = spark.createDataFrame(customers.frame)
    # A task costs more than a small table; the number of tasks depends only on the rows.
    cut = max(1, min(table.rdd.getNumPartitions(), total // TASK_ROWS))
    return SparkCustomers(table.coalesce(cut), sample, facts)
