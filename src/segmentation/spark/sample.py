"""Customers of a Spark table, without missing values, and a seeded sample of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf

from segmentation.data.customers import MISSING, Customers, from_frame, require_columns
from segmentation.data.extra_columns import LARGEST
from segmentation.errors import ConfigError, DataError
from segmentation.spark.table import Facts, SparkTable, known_facts, quantiles, spark_errors


@dataclass(frozen=True)
class SparkCustomers:
    """Customers ready to be clustered: all of them in Spark, a sample of them in memory.

    Attributes
    ----------
    frame : pyspark DataFrame
        All rows, with exactly the columns of the sample's frame.
    sample : Customers
        Seeded; its `total` and `digest` describe all rows.
    facts : mapping of str to Facts
        Statistics of each column over all rows.
    """

    frame: DataFrame
    sample: Customers
    facts: Mapping[str, Facts]


class SparkSampler:
    """A Spark table that returns its customers with the requested columns and a seeded sample.

    The sample holds the customers whose ids have the smallest hashes, so it does not depend on the
    table's partitions or order. Without ids it depends on the rows' positions in the files.

    Parameters
    ----------
    table : SparkTable
    missing : {"error", "drop", "median"}
    size : int
        Rows of the sample; all rows when the table has no more.
    seed : int
    """

    def __init__(self, table: SparkTable, *, missing: str, size: int, seed: int) -> None:
        if missing not in MISSING:
            raise ConfigError(f"data.missing={missing} is not allowed; use {', '.join(MISSING)}.")
        self.table, self.missing, self.size, self.seed = table, missing, size, seed
        # Each costs a pass over all rows; most sets of columns share their missing values.
        self._drawn: dict[tuple[str, ...], tuple[SparkTable, pd.DataFrame]] = {}

    def customers(self, columns: Sequence[str] | None) -> SparkCustomers:
        """Return the customers without missing values in the columns used.

        Parameters
        ----------
        columns : sequence of str, optional
            Columns to use; None uses all numeric ones. The other columns only describe segments.

        Raises
        ------
        DataError
            A column is missing, or holds values that cannot be used.
        """
        table = self.table
        require_columns(columns or (), list(table.facts), table.source)
        numbers = [name for name, facts in table.facts.items() if facts.kind == "number"]
        used = numbers if columns is None else list(columns)
        for name in used:
            _check_values(name, table)
        holes = {name: table.facts[name].missing for name in used if table.facts[name].missing}
        if holes and self.missing == "error":
            told = ", ".join(f"{name} {count:,}" for name, count in holes.items())
            raise DataError(
                f"{table.source}: missing values in {told}. Fill them in, or set "
                "data.missing=drop or data.missing=median."
            )
        complete, drawn = self._complete_and_drawn(tuple(holes))
        sample = from_frame(drawn, id=table.id, columns=used, source=table.source)
        for name in used:
            if (complete.facts[name].kind == "number") != is_numeric_dtype(sample.frame[name]):
                raise DataError(
                    f"{table.source}, column '{name}' is text that reads as numbers: store it as "
                    "numbers, or leave it out of features.columns."
                )
        notes = list(complete.notes)
        if len(drawn) < complete.rows:
            notes.append(
                f"a seeded sample of {len(drawn):,} of the {complete.rows:,} customers is used "
                "where single customers are needed"
            )
        if table.id is None:
            notes.append("no id column: the customers of the sample are numbered")
        inside = [complete.inside(name) for name in used]
        return SparkCustomers(
            complete.frame.select(*inside).toDF(*used),
            replace(sample, digest=table.digest, total=complete.rows, notes=tuple(notes)),
            complete.facts,
        )

    def _complete_and_drawn(self, holes: tuple[str, ...]) -> tuple[SparkTable, pd.DataFrame]:
        """Return the table without missing values in these columns, and its sample."""
        if holes not in self._drawn:
            with spark_errors(self.table.source):
                complete = _complete(self.table, holes, self.missing)
                if complete.rows < 2:
                    raise DataError(
                        f"{self.table.source} has only {complete.rows} customer that can be used; "
                        "at least 2 are needed."
                    )
                self._drawn[holes] = complete, _drawn(complete, self.size, self.seed)
        return self._drawn[holes]


def _check_values(name: str, table: SparkTable) -> None:
    facts, where = table.facts[name], f"{table.source}, column '{name}'"
    if facts.kind == "unusable":
        raise DataError(f"{where} has type {facts.type}; numbers or text are needed.")
    if facts.missing == table.rows:
        raise DataError(f"{where} is empty: leave it out of features.columns.")
    extreme = max(facts.high, -facts.low) if facts.kind == "number" else 0.0
    if extreme > LARGEST:
        kind = f"beyond {LARGEST:g}, too large to square" if np.isfinite(extreme) else "infinite"
        raise DataError(f"{where}: {kind}. Correct it or leave the field empty.")


def _complete(table: SparkTable, holes: tuple[str, ...], policy: str) -> SparkTable:
    """Apply the policy to the columns with missing values."""
    if not holes:
        return table
    inside = {name: table.inside(name) for name in holes}
    told = ", ".join(f"{name} {table.facts[name].missing:,}" for name in holes)
    if policy == "drop":
        frame = table.frame.dropna(subset=list(inside.values()))
        facts, rows = _facts(table, frame)
        note = f"rows dropped: {table.rows - rows:,}, for missing values in {told}"
        return replace(table, frame=frame, facts=facts, rows=rows, notes=(*table.notes, note))
    text = next((name for name in holes if table.facts[name].kind == "text"), None)
    if text is not None:
        raise DataError(
            f"{table.source}: values of text column '{text}' are missing "
            f"({table.facts[text].missing:,}) and text has no median; set data.missing=drop."
        )
    medians = quantiles(table.frame, list(inside.values()), [0.5])[:, 0]
    filled = dict(zip(inside.values(), medians.tolist(), strict=True))
    frame = table.frame.select(
        *(
            sf.coalesce(sf.col(name).cast("double"), sf.lit(filled[name])).alias(name)
            if name in filled
            else sf.col(name)
            for name in table.frame.columns
        )
    )
    facts, _ = _facts(table, frame)
    notes = [
        f"missing values of {name} filled with its median {filled[column]:g} "
        f"({table.facts[name].missing:,})"
        for name, column in inside.items()
    ]
    return replace(table, frame=frame, facts=facts, notes=(*table.notes, *notes))


def _facts(table: SparkTable, frame: DataFrame) -> tuple[dict[str, Facts], int]:
    """Compute facts of a table's columns in another frame, and its number of rows."""
    columns = {table.inside(name): facts.type for name, facts in table.facts.items()}
    known, (rows,) = known_facts(frame, columns, [sf.count(sf.lit(1))])
    return {table.names[int(name[1:])]: facts for name, facts in known.items()}, rows


def _drawn(table: SparkTable, size: int, seed: int) -> pd.DataFrame:
    """Draw the sample, with all usable columns under their own names, ordered by hash."""
    what: list[Any] = [sf.monotonically_increasing_id()]
    if table.id is not None:
        what = [sf.col(table.inside(table.id))]
    hashed = table.frame.withColumn("hash", sf.xxhash64(sf.lit(seed), *what))
    if table.rows > size:
        # Hashes are uniform: a threshold just above the sample's share leaves Spark little to sort.
        share = (size + 6 * np.sqrt(size)) / table.rows
        if share < 1:
            hashed = hashed.where(sf.col("hash") < int(-(2.0**63) + share * 2.0**64))
    # Rows with the same id have the same hash: their other values break the tie.
    rest = [table.inside(name) for name in table.usable]
    drawn = hashed.orderBy("hash", *rest).limit(size).select(*rest).toPandas()
    return drawn.set_axis(table.usable, axis=1)
