"""One configuration: read the customers, segment them, log the run."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segmentation import data, tracking
from segmentation.config import DataConfig, FitConfig
from segmentation.data import Customers
from segmentation.demo import generate_customers
from segmentation.errors import ConfigError
from segmentation.features import FeatureSet, resolve
from segmentation.logged import run_name
from segmentation.result import SegmentationResult, segment
from segmentation.store import Store
from segmentation.tracking import LoggedRun


@dataclass(frozen=True)
class SweepJob:
    """The sweep a run belongs to: its id, and the parent run that has the data's figures."""

    sweep_id: str
    parent_run_id: str
    has_data_figures: bool


def compute(config: FitConfig) -> SegmentationResult:
    """Read the customers a config names and segment them; nothing is logged.

    Raises
    ------
    DataError, ConfigError
        The file, a column or an option cannot be used.
    """
    scaling, choice = _scaling(config.scaling), _choice(config.choice)
    features = _feature_set(config)
    columns = features.used if features is not None and features.columns else None
    customers = read_customers(config.data, columns)
    features = resolve(features, customers)
    _say(
        f"{len(customers.ids):,} customers from {customers.source}; clustering on "
        f"{', '.join(features.columns)}, k={config.k.min}..{config.k.max}, scaling "
        f"{config.scaling.get('name') or config.scaling.get('_target_')}"
    )
    for note in customers.notes:
        _say(f"  {note}")
    return segment(
        customers,
        features=features,
        scaling=scaling,
        k_min=config.k.min,
        k_max=config.k.max,
        choice=choice[0],
        k=choice[1],
        engine=config.engine.name,
        effort=config.engine.effort,
        seed=config.seed,
    )


def log(
    result: SegmentationResult,
    store: Store,
    config: FitConfig,
    *,
    command: str,
    sweep: SweepJob | None = None,
    run_id: str | None = None,
) -> LoggedRun:
    """Log a result as a run of `store`, with the config it came from.

    Parameters
    ----------
    result : SegmentationResult
    store : Store
    config : FitConfig
        Kept in the run without its tracking keys.
    command : str
        What reproduces the run.
    sweep : SweepJob, optional
        The sweep it belongs to.
    run_id : str, optional
        Adopt this run, which ``mlflow run`` has made.
    """
    tags: dict[str, str] = {}
    if sweep is not None:
        tags = {"sweep_id": sweep.sweep_id, "mlflow.parentRunId": sweep.parent_run_id}
    settings = asdict(config)
    for key in ("tracking", "run_id"):
        del settings[key]
    with tracking.tracked_run(store, run_name(result), tags=tags, run_id=run_id) as run:
        return tracking.write_result(
            store,
            run,
            result,
            config=settings,
            command=command,
            data_figures=sweep is None or not sweep.has_data_figures,
            log_customers=config.tracking.log_customers,
        )


def read_customers(config: DataConfig, columns: tuple[str, ...] | None) -> Customers:
    """The customers of a data config; read once per process and set of columns.

    Parameters
    ----------
    config : DataConfig
    columns : tuple of str, optional
        Columns that must be there and be complete; all of them when None.
    """
    return _read(json.dumps(asdict(config), sort_keys=True), columns, _modified(config.path))


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
    assert config.path is not None  # config.load has checked
    if config.source == "parquet":
        return data.read_parquet(config.path, **options)
    return data.read_csv(
        config.path,
        delimiter=config.delimiter,
        decimal=config.decimal or ".",
        encoding=config.encoding,
        **options,
    )


def _feature_set(config: FitConfig) -> FeatureSet | None:
    chosen = asdict(config.features)
    if chosen["columns"] is None and config.data.default_features is not None:
        chosen |= config.data.default_features
    if chosen["columns"] is None:
        extras = [key for key in ("log1p", "weights", "categorical", "profile") if chosen[key]]
        if not extras:
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
        profile=tuple(chosen["profile"]),
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


def _choice(chosen: Mapping[str, Any]) -> tuple[str, int | None]:
    allowed = ("name", "k") if chosen.get("name") == "fixed" else ("name",)
    others = [key for key in chosen if key not in allowed]
    if others:
        raise ConfigError(
            f"choice={chosen.get('name')} has no key {', '.join(others)}; choice.k exists only "
            "with choice=fixed."
        )
    k = chosen.get("k")
    if k is not None and not isinstance(k, int):
        raise ConfigError(f"choice.k={k}: a whole number is wanted.")
    return str(chosen["name"]), k


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
