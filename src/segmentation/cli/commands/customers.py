"""New customers for the commands that ask a model about them."""

from __future__ import annotations

import pyarrow as pa

from segmentation.config import DataConfig
from segmentation.data.streaming import CustomerStream, stream_csv, stream_parquet, stream_table
from segmentation.errors import ConfigError
from segmentation.experiments import run


def open_customers(data: DataConfig) -> CustomerStream:
    """The customers a data config names; CSV and Parquet files are read chunk by chunk.

    Raises
    ------
    ConfigError
        An option has no meaning for them.
    DataError
        They cannot be read.
    """
    if data.source not in ("csv", "parquet"):
        customers = run.read_customers(data, None)
        table = pa.Table.from_pandas(customers.frame, preserve_index=False)
        ids = pa.array(customers.ids.astype(str), pa.large_string())
        return stream_table(table.add_column(0, str(customers.ids.name), ids), customers.source)
    if data.missing != "error":
        raise ConfigError(
            f"data.missing={data.missing} has no meaning here: a customer with a missing value is "
            "counted and listed as rejected, never left out or filled in. Leave the option out."
        )
    assert data.path is not None  # config.load has checked
    if data.source == "parquet":
        return stream_parquet(data.path)
    if data.decimal not in (None, ".", ","):
        raise ConfigError(f"data.decimal={data.decimal!r} is not allowed; use '.' or ','.")
    return stream_csv(data.path, delimiter=data.delimiter, encoding=data.encoding)
