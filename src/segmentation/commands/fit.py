"""``segment fit``: one configuration, from the customers to a logged run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from segmentation import config as schema
from segmentation import fit
from segmentation.commands.call import Call
from segmentation.commands.output import ui_hint
from segmentation.commands.sweep import current_job
from segmentation.config import FitConfig, TrackingConfig
from segmentation.store import Store
from segmentation.tracking import find_run, stored_config


def run(config: FitConfig, call: Call) -> None:
    """Fit, log, and say what was found and where to look."""
    started = time.monotonic()
    job = current_job()
    result = fit.compute(config)
    store, adopted = _open(config.tracking, call, in_sweep=job is not None)
    command = f"segment fit {' '.join(call.overrides)}".rstrip()
    logged = fit.log(result, store, config, command=command, sweep=job, run_id=adopted)
    took = time.monotonic() - started
    print(f"{logged.name}: {result.choice.verdict} ({took:.1f} s)", flush=True)
    if job is None:
        for segment in result.segments:
            print(f"  {segment.id}  {segment.size:>8,}  {segment.share:6.1%}  {segment.name}")
        print(f"Report: {logged.report}")
        print(f"Run:    {logged.link}{ui_hint(store)}")


def stored(plain: Mapping[str, Any], given: Iterable[str], call: Call) -> dict[str, Any]:
    """The config of the logged run ``run_id`` with this command line's overrides on top.

    Parameters
    ----------
    plain : mapping
        The config as composed from the command line.
    given : iterable of str
        Keys and groups the command line overrides.
    call : Call
    """
    tracking = schema.load({"tracking": plain["tracking"]}, schema.PromoteConfig).tracking
    merged = OmegaConf.create(stored_config(call.open_store(tracking), str(plain["run_id"])))
    composed = OmegaConf.create(dict(plain))
    for key in given:
        if key not in ("run_id", "experiment", "sweep") and not key.startswith("hydra"):
            OmegaConf.update(merged, key, OmegaConf.select(composed, key), merge=False)
    merged["tracking"] = composed["tracking"]
    container = OmegaConf.to_container(merged, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _open(tracking: TrackingConfig, call: Call, *, in_sweep: bool) -> tuple[Store, str | None]:
    """The store to log to, and the run that ``mlflow run`` has made for us, if it has."""
    store = call.open_store(tracking)
    preset = None if in_sweep else os.environ.get("MLFLOW_RUN_ID")
    if preset is None:
        return store, None
    return replace(store, experiment_id=find_run(store, preset).info.experiment_id), preset
