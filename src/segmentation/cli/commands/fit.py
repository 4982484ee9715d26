"""``segment fit``: one configuration, from the customers to a logged run."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from segmentation import config as schema
from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import say, ui_hint
from segmentation.cli.commands.sweep import current_session, job_ended, job_started
from segmentation.config import FitConfig, TrackingConfig
from segmentation.errors import ConfigError, TrackingError
from segmentation.experiments import logged_ranks
from segmentation.experiments import run as configured
from segmentation.experiments.read import customers_of
from segmentation.experiments.sweep_session import FinishedJob, SweepSession
from segmentation.runtime.threads import threads_for
from segmentation.tracking.identity import config_hash
from segmentation.tracking.runs import find_run, mark_left_behind, stored_config
from segmentation.tracking.store import Store, check_store


def run(config: FitConfig, call: Call) -> None:
    """Fit, log, and print the result and where to find it."""
    session = current_session(call, config.tracking)
    config = _renamed(config, call)
    if session is None:
        _run_alone(config, call)
    else:
        _run_in_sweep(config, call, session)


def _run_alone(config: FitConfig, call: Call) -> None:
    started = time.monotonic()
    check_store(call.store_uri(config.tracking))
    read = customers_of(config, say)
    customers = read.customers
    say(f"{customers.population:,} customers from {customers.source}")
    for note in customers.notes:
        say(f"  {note}")
    say(f"Fitting k = {config.k.min}..{config.k.max} …")
    with threads_for(len(customers.ids)):
        result = configured.compute(read, config, say)
        features = result.features
        say(f"Clustered on {', '.join(features.columns)}; scaling {result.scaling}")
        if features.profile:
            say(f"Also described by {', '.join(features.profile)}")
        for name, reason in features.left_out.items():
            say(f"  left out {name}: {reason}")
        store, adopted = _open(config.tracking, call)
        command = f"segment fit {shlex.join(call.overrides)}".rstrip()
        logged = configured.log(result, read, store, config, command=command, run_id=adopted)
        # The run is logged, whether or not the store also takes its place.
        with contextlib.suppress(TrackingError):
            logged_ranks.log_new(store, [logged.row])
    took = time.monotonic() - started
    print(f"{logged.name}: {result.verdict} ({took:.1f} s)")
    if result.importance is not None and result.importance.warning is not None:
        print(f"Careful: {result.importance.warning}.")
    for segment in result.segments:
        print(f"  {segment.id}  {segment.size:>8,}  {segment.share:6.1%}  {segment.name}")
    print(f"Report: {logged.report}")
    print(f"Run:    {logged.link}{ui_hint(store, call, config.tracking)}", flush=True)


def _run_in_sweep(config: FitConfig, call: Call, session: SweepSession) -> None:
    store = session.store_of(call.store_uri(config.tracking), config.tracking.experiment)
    # The hash needs a complete configuration, so a mistake in it is reported here.
    read = session.customers(config)
    identity = config_hash(configured.settings(config), read.customers.digest)
    if not config.force and session.is_done(identity):
        return
    started = time.monotonic()
    job_started(call.overrides)
    result = configured.compute(read, config)
    logged = configured.log(result, read, store, config, sweep=session)
    took = time.monotonic() - started
    line = f"{logged.name}: {result.verdict} ({took:.1f} s)"
    job_ended(session, FinishedJob(line, logged.row))


def _renamed(config: FitConfig, call: Call) -> FitConfig:
    """Rename a feature set that the command line has changed."""
    given = {override.lstrip("+~").split("=")[0] for override in call.overrides}
    changed = {key for key in given if key.startswith("features.")}
    if not changed or "features.name" in changed or config.features.name == "auto":
        return config
    columns = any(key.startswith("features.columns") for key in changed)
    name = "auto" if columns else f"{config.features.name}*"
    return replace(config, features=replace(config.features, name=name))


def stored(plain: Mapping[str, Any], given: Iterable[str], call: Call) -> dict[str, Any]:
    """Return the stored config of run ``run_id`` with this command line's overrides applied.

    Parameters
    ----------
    plain : mapping
        The config as composed from the command line.
    given : iterable of str
        Keys and groups that the command line overrides.
    call : Call
    """
    tracking = schema.load({"tracking": plain["tracking"]}, schema.PromoteConfig).tracking
    for key in ("experiment", "sweep"):
        if key in given:
            raise ConfigError(
                f"{key} cannot be given together with run_id: the run's stored config "
                "replaces it. Leave out one of the two."
            )
    merged = OmegaConf.create(stored_config(call.open_store(tracking), str(plain["run_id"])))
    composed = OmegaConf.create(dict(plain))
    for key in given:
        if key != "run_id" and not key.startswith("hydra"):
            OmegaConf.update(merged, key, OmegaConf.select(composed, key), merge=False)
    merged["tracking"] = composed["tracking"]
    container = OmegaConf.to_container(merged, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _open(tracking: TrackingConfig, call: Call) -> tuple[Store, str | None]:
    """Open the store to log to; also return the id of a run that ``mlflow run`` created."""
    store = call.open_store(tracking)
    mark_left_behind(store)
    preset = os.environ.get("MLFLOW_RUN_ID")
    if preset is None:
        return store, None
    return replace(store, experiment_id=find_run(store, preset).info.experiment_id), preset
