"""Run one configuration: segment its customers and log the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.preprocessing import StandardScaler

from segmentation.config import FitConfig, engine_options
from segmentation.errors import ConfigError
from segmentation.evaluation import metrics
from segmentation.experiments.read import RunCustomers, feature_set
from segmentation.experiments.sweep_session import SweepSession
from segmentation.pipeline import check_options, segment
from segmentation.profiling.naming import Naming
from segmentation.result import SegmentationResult
from segmentation.runtime.progress import Say, silent
from segmentation.runtime.redaction import kept_url, masked
from segmentation.selection import choice as choices
from segmentation.tracking import run_logger
from segmentation.tracking.run_items import run_name
from segmentation.tracking.run_logger import LoggedRun
from segmentation.tracking.store import Store


def settings(config: FitConfig) -> dict[str, Any]:
    """Return the part of a config that determines the result, for the run and its hash."""
    plain = asdict(config)
    for key in ("tracking", "run_id", "trust", "force"):
        del plain[key]
    if config.data.path is not None and "://" not in config.data.path:
        # A rerun or a promotion may start in another folder.
        plain["data"]["path"] = str(Path(config.data.path).absolute())
    if config.data.url is not None:
        plain["data"]["url"] = kept_url(config.data.url)
    return plain


def compute(customers: RunCustomers, config: FitConfig, say: Say = silent) -> SegmentationResult:
    """Segment the customers according to a config, without logging.

    Parameters
    ----------
    customers : RunCustomers
        From `segmentation.experiments.read.customers_of`.
    config : FitConfig
    say : callable
        Takes lines of progress.

    Raises
    ------
    DataError, ConfigError
        A column or an option cannot be used.
    """
    scaling = _scaling(config.scaling)
    choices.check(config.choice)
    naming = Naming(**{key: value or {} for key, value in asdict(config.naming).items()})
    engine, options = config.engine.name, engine_options(config.engine)
    what: dict[str, Any] = {
        "features": feature_set(config),
        "scaling": scaling,
        "k_min": config.k.min,
        "k_max": config.k.max,
        "choice": config.choice,
        "naming": naming,
        "seed": config.seed,
    }
    if engine != "spark":
        return segment(customers.customers, engine=engine, **what, **asdict(options))
    check_options(k_min=config.k.min, k_max=config.k.max, engine=engine)
    # Imported lazily: Spark is an optional dependency.
    from segmentation.spark.session import open_session

    spark = open_session(options, say)
    from segmentation.spark.fit import from_memory, segment_table
    from segmentation.spark.source import SAMPLE

    in_spark = customers.in_spark or from_memory(
        spark, customers.customers, size=options.sample or SAMPLE, seed=config.seed
    )
    return segment_table(in_spark, options=options, say=say, **what)


def reference_metrics(
    result: SegmentationResult, reference: pd.DataFrame | None
) -> dict[str, float]:
    """Compute the quality of the segments in a standardised space shared by all runs.

    Parameters
    ----------
    result : SegmentationResult
    reference : DataFrame or None
        The customers in the columns of that space.

    Returns
    -------
    dict of str to float
        Empty if `reference` is None or has other customers, because of missing values.
    """
    if reference is None or reference.empty or len(reference) != len(result.labels):
        return {}
    own = result.features
    plain = not (own.log1p or own.weights or own.categorical) and result.scaling == "standard"
    # A run on all numeric columns, standardised, already uses that space.
    same = plain and list(reference.columns) == list(own.columns)
    Z = result.Z if same else StandardScaler().fit_transform(reference)
    return metrics.in_reference_space(Z, result.labels, seed=result.seed)


def log(
    result: SegmentationResult,
    customers: RunCustomers,
    store: Store,
    config: FitConfig,
    *,
    command: str | None = None,
    sweep: SweepSession | None = None,
    run_id: str | None = None,
) -> LoggedRun:
    """Log a result as a run of `store`, with its config.

    Parameters
    ----------
    result : SegmentationResult
    customers : RunCustomers
        The customers it was computed from.
    store : Store
    config : FitConfig
        The part returned by `settings` is stored in the run.
    command : str, optional
        The command that reproduces the run; by default a rerun from its stored config.
    sweep : SweepSession, optional
        The sweep the run belongs to.
    run_id : str, optional
        Log to this run, which ``mlflow run`` has created.
    """
    tags: dict[str, str] = {}
    job = None if sweep is None else sweep.job
    if job is not None:
        tags = {"sweep_id": job.sweep_id, "mlflow.parentRunId": job.parent_run_id}
    reference = reference_metrics(result, customers.reference)
    with run_logger.tracked_run(store, run_name(result), tags=tags, run_id=run_id) as run:
        command = command or f"segment fit run_id={run.info.run_id}"
        return run_logger.write_result(
            store,
            run,
            result,
            config=settings(config),
            reference=reference,
            command=masked(command, config.data.url),
            data_figures=job is None or not job.has_data_figures,
            drawn=None if sweep is None else sweep.drawn,
            log_customers=_keeps_customers(config, store),
        )


def _keeps_customers(config: FitConfig, store: Store) -> bool:
    # Users of a server may not be allowed to see customers, whatever its address is.
    asked = config.tracking.log_customers
    return store.is_local if asked is None else asked


def _scaling(chosen: Mapping[str, Any]) -> str | dict[str, Any]:
    if "_target_" in chosen and "name" in chosen:
        raise ConfigError(
            "scaling has both a name and a _target_: put the _target_ into its own YAML file in "
            "conf/scaling, without a name."
        )
    if "_target_" in chosen:
        return dict(chosen)
    others = [key for key in chosen if key != "name"]
    if others or "name" not in chosen:
        raise ConfigError(
            f"scaling takes a name, or a _target_ with its arguments, not {', '.join(others)}."
        )
    return str(chosen["name"])
