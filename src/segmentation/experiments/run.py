"""One configuration: read the customers, segment them, log the run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sklearn.preprocessing import StandardScaler

from segmentation.config import DataConfig, DataOnly, EngineConfig, FitConfig, load, not_set
from segmentation.data import customers as data
from segmentation.data.customers import Customers, require_columns
from segmentation.data.demo import generate_customers
from segmentation.data.sql import read_sql
from segmentation.data.transactions import read_transactions
from segmentation.errors import ConfigError, DataError
from segmentation.evaluation import metrics
from segmentation.features.feature_set import FeatureSet
from segmentation.pipeline import check_options, segment
from segmentation.profiling.naming import Naming
from segmentation.result import SegmentationResult
from segmentation.runtime.redaction import kept_url, masked
from segmentation.selection import choice as choices
from segmentation.tracking import run_logger
from segmentation.tracking.run_items import run_name
from segmentation.tracking.run_logger import LoggedRun
from segmentation.tracking.store import Store

if TYPE_CHECKING:
    from segmentation.spark.sample import SparkCustomers

Say = Callable[[str], None]


def _silent(line: str) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class SweepJob:
    """The sweep a run belongs to.

    Attributes
    ----------
    sweep_id, parent_run_id : str
    has_data_figures : bool
        The parent run shows the figures of the data, so that the runs need not.
    total : int
        Configurations of the sweep.
    done : int
        Those that were finished before it started.
    started : float
        Seconds since the epoch.
    """

    sweep_id: str
    parent_run_id: str
    has_data_figures: bool
    total: int
    done: int
    started: float


def settings(config: FitConfig) -> dict[str, Any]:
    """The part of a config that makes the result: it is stored in the run and hashed."""
    plain = asdict(config)
    for key in ("tracking", "run_id", "force"):
        del plain[key]
    if config.data.path is not None and "://" not in config.data.path:
        # A rerun, or a promotion, may start from another folder.
        plain["data"]["path"] = str(Path(config.data.path).absolute())
    if config.data.url is not None:
        plain["data"]["url"] = kept_url(config.data.url)
    return plain


def customers_of(config: FitConfig, say: Say = _silent) -> Customers:
    """The customers of a config with the columns its feature set uses; of a Spark table a sample.

    Raises
    ------
    DataError
        The file or a value in it cannot be used.
    """
    columns = _columns(config)
    if _in_spark(config.data, config.engine):
        return _spark_customers(config, columns, say).sample
    return read_customers(config.data, columns, say)


def compute(config: FitConfig, say: Say = _silent) -> SegmentationResult:
    """Read the customers a config names and segment them; nothing is logged.

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
    scaling = _scaling(config.scaling)
    choices.check(config.choice)
    naming = Naming(**{key: value or {} for key, value in asdict(config.naming).items()})
    options: dict[str, Any] = {
        "features": _feature_set(config),
        "scaling": scaling,
        "k_min": config.k.min,
        "k_max": config.k.max,
        "choice": config.choice,
        "effort": config.engine.effort,
        "polish": config.engine.polish,
        "naming": naming,
        "seed": config.seed,
    }
    if config.engine.name == "spark":
        check_options(
            k_min=config.k.min, k_max=config.k.max, engine="spark", effort=config.engine.effort
        )
        spark_customers = _spark_customers(config, _columns(config), say)
        from segmentation.spark.fit import segment_table

        return segment_table(spark_customers, say=say, **options)
    customers = customers_of(config)
    return segment(
        customers,
        engine=config.engine.name,
        path=config.engine.path,
        **options,
    )


def _in_spark(data: DataConfig, engine: EngineConfig) -> bool:
    """Whether Spark reads the customers itself; the other sources are read here, as always."""
    return engine.name == "spark" and data.source in ("spark_table", "parquet")


def _spark_customers(
    config: FitConfig, columns: tuple[str, ...] | None, say: Say
) -> SparkCustomers:
    # Lazily: whoever works without Spark need not have it.
    from segmentation.spark.session import open_session

    spark = open_session(config.engine, say)
    from segmentation.spark import source
    from segmentation.spark.fit import from_memory

    data, engine = config.data, config.engine
    if _in_spark(data, engine):
        if data.source == "parquet":
            _given(data, "path")
        return source.read(
            data, engine, columns, seed=config.seed, modified=_modified(data.path), say=say
        )
    size = engine.sample or source.SAMPLE
    return from_memory(spark, read_customers(data, columns), size=size, seed=config.seed)


def _columns(config: FitConfig) -> tuple[str, ...] | None:
    features = _feature_set(config)
    return features.columns if features is not None and features.columns else None


def stored_customers(
    stored: Mapping[str, Any], columns: tuple[str, ...] | None, say: Say = _silent
) -> Customers:
    """The customers of a logged run again; of a Spark table the same sample.

    Parameters
    ----------
    stored : mapping
        The run's config.
    columns : tuple of str, optional
        See `read_customers`.
    say : callable
        Takes lines of progress.
    """
    data = load({"data": stored["data"]}, DataOnly).data
    engine = EngineConfig(**stored.get("engine", {"name": "sklearn"}))
    if not _in_spark(data, engine):
        return read_customers(data, columns, say)
    config = FitConfig(data=data, engine=engine, seed=int(stored.get("seed", 0)))
    return _spark_customers(config, columns, say).sample


def reference_metrics(config: FitConfig, result: SegmentationResult) -> dict[str, float]:
    """Quality of the segments in one space for all runs on the same customers.

    The space is ``compare.reference``, by default all numeric columns, standardised. Empty when
    those columns cannot be read (missing values outside the feature set, say).
    """
    try:
        everything = (
            _spark_customers(config, None, _silent).sample
            if _in_spark(config.data, config.engine)
            else read_customers(config.data, None)
        )
        columns = config.compare.reference
        if columns is not None:
            require_columns(columns, list(everything.frame.columns), everything.source)
    except DataError:
        if config.compare.reference is not None:
            raise
        return {}
    numeric = everything.frame[columns] if columns else everything.frame.select_dtypes("number")
    if numeric.empty or len(numeric) != len(result.labels):
        return {}
    own = result.features
    plain = not (own.log1p or own.weights or own.categorical) and result.scaling == "standard"
    # A run on all numeric columns, standardised, is in that space already.
    same = plain and list(numeric.columns) == list(own.columns)
    Z = result.Z if same else StandardScaler().fit_transform(numeric)
    return metrics.in_reference_space(Z, result.labels, seed=config.seed)


def log(
    result: SegmentationResult,
    store: Store,
    config: FitConfig,
    *,
    command: str | None = None,
    sweep: SweepJob | None = None,
    run_id: str | None = None,
) -> LoggedRun:
    """Log a result as a run of `store`, with the config it came from.

    Parameters
    ----------
    result : SegmentationResult
    store : Store
    config : FitConfig
        Kept in the run as far as it makes the result, see `settings`.
    command : str, optional
        What reproduces the run; by default a rerun from its stored config.
    sweep : SweepJob, optional
        The sweep it belongs to.
    run_id : str, optional
        Adopt this run, which ``mlflow run`` has made.
    """
    tags: dict[str, str] = {}
    if sweep is not None:
        tags = {"sweep_id": sweep.sweep_id, "mlflow.parentRunId": sweep.parent_run_id}
    reference = reference_metrics(config, result)
    with run_logger.tracked_run(store, run_name(result), tags=tags, run_id=run_id) as run:
        command = command or f"segment fit run_id={run.info.run_id}"
        return run_logger.write_result(
            store,
            run,
            result,
            config=settings(config),
            reference=reference,
            command=masked(command, config.data.url),
            data_figures=sweep is None or not sweep.has_data_figures,
            log_customers=_keeps_customers(config, store),
        )


def _keeps_customers(config: FitConfig, store: Store) -> bool:
    # A server's readers may not be allowed to see customers, however its address was given.
    asked = config.tracking.log_customers
    return store.is_local if asked is None else asked


def read_customers(
    config: DataConfig, columns: tuple[str, ...] | None, say: Say = _silent
) -> Customers:
    """The customers of a data config; read once per process and set of columns.

    Parameters
    ----------
    config : DataConfig
    columns : tuple of str, optional
        Columns that must be there and be complete; all of them when None.
    say : callable
        Takes lines of progress; told of a large file alone.
    """
    file = Path(config.path or "")
    if file.is_file() and file.stat().st_size > data.LARGE_BYTES:
        say(f"Reading {file.name} …")
    return _read(json.dumps(asdict(config), sort_keys=True), columns, _modified(config.path))


def read_customers_of_sweep(base: Mapping[str, Any], say: Say = _silent) -> Customers:
    """The customers all jobs of a sweep share, with all columns as far as they can be used.

    Parameters
    ----------
    base : mapping
        The config the jobs have in common.
    say : callable
        Takes lines of progress.
    """
    try:
        return stored_customers(base, None, say)
    except DataError:
        # A fault in a column no job may ask for; those that do will say so.
        return stored_customers(base, (), say)


def _modified(path: str | None) -> int | None:
    # A file changed between two sweeps of one process is another file.
    return Path(path).stat().st_mtime_ns if path and Path(path).is_file() else None


@functools.lru_cache(maxsize=8)
def _read(key: str, columns: tuple[str, ...] | None, modified: int | None) -> Customers:
    config = DataConfig(**json.loads(key))
    options: dict[str, Any] = {
        "id": config.id,
        "missing": config.missing,
        "rename": config.rename,
        "columns": columns,
    }
    if config.source == "demo":
        size = 200 if config.customers is None else config.customers
        frame = generate_customers(size, config.seed or 0)
        return data.from_frame(frame, **{**options, "id": "customer_id"}, source="demo")
    if config.source == "sql":
        return read_sql(_given(config, "url"), _given(config, "query"), **options)
    path = _given(config, "path")
    if config.source == "transactions":
        return read_transactions(
            path,
            **{**options, "id": config.id or "customer_id"},
            date=config.date or "date",
            amount=config.amount,
            price=config.price,
            quantity=config.quantity,
            as_of=config.as_of,
            returns=config.returns or "net",
            date_format=config.date_format,
            delimiter=config.delimiter,
            decimal=config.decimal or ".",
            encoding=config.encoding,
        )
    if config.source == "parquet":
        return data.read_parquet(path, **options)
    return data.read_csv(
        path,
        delimiter=config.delimiter,
        decimal=config.decimal or ".",
        encoding=config.encoding,
        **options,
    )


def _given(config: DataConfig, key: str) -> str:
    # `???` in a YAML file becomes None on composition: other sources do without the key.
    value = getattr(config, key)
    if value is None:
        raise ConfigError(not_set(f"data.{key}"))
    return str(value)


def _feature_set(config: FitConfig) -> FeatureSet | None:
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


def _scaling(chosen: Mapping[str, Any]) -> str | dict[str, Any]:
    if "_target_" in chosen and "name" in chosen:
        raise ConfigError(
            "scaling has both a name and a _target_: put the _target_ into a YAML file of its own "
            "in conf/scaling, without name."
        )
    if "_target_" in chosen:
        return dict(chosen)
    others = [key for key in chosen if key != "name"]
    if others or "name" not in chosen:
        raise ConfigError(
            f"scaling takes a name alone, or a _target_ and its arguments; not {', '.join(others)}."
        )
    return str(chosen["name"])
