"""Score a Spark table with a logged model and write it with the segments as added columns."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark import SparkFiles
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as st

from segmentation.config import DataConfig
from segmentation.data.names import kept_names
from segmentation.errors import ConfigError, DataError
from segmentation.spark.table import open_table, spark_errors

#: The columns scoring adds; `reason` says why a row has no segment.
ADDED = {
    "segment": st.LongType(),
    "segment_name": st.StringType(),
    "distance": st.DoubleType(),
    "second_segment": st.LongType(),
    "margin": st.DoubleType(),
    "in_range": st.BooleanType(),
    "reason": st.StringType(),
}
TOO_FAR = "too far from the training data to measure a distance"


@dataclass(frozen=True)
class Scored:
    """Counts of the rows written.

    Attributes
    ----------
    segments : mapping of int to int
        Number of rows by segment id.
    rejected : mapping of str to int
        Number of rows without a segment, by reason.
    seconds : float
        Time for reading, scoring and writing.
    """

    segments: Mapping[int, int]
    rejected: Mapping[str, int]
    seconds: float

    @property
    def rows(self) -> int:
        """Number of rows written."""
        return sum(self.segments.values()) + sum(self.rejected.values())


def choose_folder(out: str, *, overwrite: bool) -> str:
    """Check where the scored Parquet folder is to be written, before any work is done.

    Raises
    ------
    ConfigError
        The folder cannot be written there.
    """
    if not out.rstrip("/").endswith(".parquet"):
        raise ConfigError(f"out={out}: with engine=spark the name must end in .parquet.")
    if "://" in out:
        return out
    path = Path(out).expanduser().absolute()
    if not path.parent.is_dir():
        raise ConfigError(f"out={out}: there is no folder {path.parent}.")
    if path.is_file() or (path.exists() and not overwrite):
        raise ConfigError(
            f"out={out}: {path} already exists. Choose another name, or replace it with "
            "overwrite=true."
        )
    return str(path)


def score_table(
    spark: SparkSession,
    data: DataConfig,
    model: Path,
    names: list[str],
    out: str,
    *,
    overwrite: bool,
) -> Scored:
    """Score a table and write it as Parquet with the columns of `ADDED`.

    A local folder is written under a temporary name and renamed at the end; elsewhere Spark's
    committer prevents partial results. The model is sent to the executors, which need mlflow,
    scikit-learn and skops but not this package.

    Parameters
    ----------
    spark : SparkSession
    data : DataConfig
    model : Path
        Folder of the logged model.
    names : list of str
        The columns the model needs.
    out : str
        From `choose_folder`.
    overwrite : bool

    Raises
    ------
    DataError
        The table cannot be read, lacks a column, or has no row that can be scored.
    """
    started = time.monotonic()
    frame, source = open_table(spark, data)
    headers = {data.rename.get(name.strip(), name.strip()): name for name in frame.columns}
    missing = [name for name in names if name not in headers]
    if missing:
        raise DataError(
            f"{source} lacks {', '.join(map(repr, missing))}, which the model needs. Columns: "
            f"{', '.join(frame.columns)}. Rename the columns with data.rename."
        )
    kept = kept_names(
        frame.columns,
        ADDED,
        source=source,
        features={headers[name] for name in names},
        id=None if data.id is None else headers.get(data.id, data.id),
    )
    frame = frame.toDF(*kept.values())
    headers = {name: kept[header] for name, header in headers.items()}
    local = "://" not in out
    part = f"{out}.{os.getpid()}.part" if local else out
    with spark_errors(source):
        scored = _scored(spark, frame, model, {name: headers[name] for name in names})
        try:
            target = Path(part).as_uri() if local else part
            scored.write.mode("overwrite" if overwrite or local else "errorifexists").parquet(
                target
            )
            counted = spark.read.parquet(target).groupBy("segment", "reason").count().collect()
        except BaseException:
            if local:
                shutil.rmtree(part, ignore_errors=True)
            raise
    segments = {row.segment: row["count"] for row in counted if row.segment is not None}
    rejected = {row.reason: row["count"] for row in counted if row.segment is None}
    if local and segments:
        shutil.rmtree(out, ignore_errors=True)
        Path(part).rename(out)
    elif local:
        shutil.rmtree(part, ignore_errors=True)
    if not segments:
        told = ", ".join(f"{reason} {count:,}" for reason, count in rejected.items())
        raise DataError(f"{source}: no row can be scored ({told or 'it has no rows'}).")
    return Scored(segments, rejected, time.monotonic() - started)


def _scored(
    spark: SparkSession, frame: DataFrame, model: Path, headers: Mapping[str, str]
) -> DataFrame:
    """Return the rows with the added columns; the model is loaded once per partition."""
    spark.sparkContext.addFile(str(model), recursive=True)
    folder, names = model.name, list(headers)
    positions = [frame.columns.index(header) for header in headers.values()]
    schema = st.StructType(
        [*frame.schema.fields, *(st.StructField(name, kind) for name, kind in ADDED.items())]
    )
    far = TOO_FAR

    def score(batches: Iterable[Any]) -> Iterator[Any]:
        import mlflow.pyfunc
        import numpy as np
        import pandas as pd

        loaded = mlflow.pyfunc.load_model(SparkFiles.get(folder)).unwrap_python_model()
        for batch in batches:
            given = pd.DataFrame(
                {
                    name: batch.column(position).to_pandas()
                    for name, position in zip(names, positions, strict=True)
                }
            )
            customers, faults = loaded.check(given)
            reasons = np.full(len(given), None, dtype=object)
            for fault in reversed(faults):
                bad = slice(None) if fault.bad is None else fault.bad
                reasons[bad] = f"{fault.column} must be {fault.wanted}"
            good = np.flatnonzero(pd.isna(reasons))
            answer, measured = loaded.assign(customers.iloc[good], details=True)
            reasons[good[~measured]] = far
            answer = answer[measured].reset_index(drop=True)
            # Back to all rows: those without an answer get nulls.
            place = np.full(len(given), -1)
            place[good[measured]] = np.arange(len(answer))
            at = pa.array(place, mask=place < 0)
            added = {name: pa.Array.from_pandas(answer[name]).take(at) for name in answer.columns}
            added["reason"] = pa.array(reasons, pa.string())
            yield pa.RecordBatch.from_arrays(
                [*batch.columns, *added.values()], names=[*batch.schema.names, *added]
            )

    return frame.mapInArrow(score, schema)
