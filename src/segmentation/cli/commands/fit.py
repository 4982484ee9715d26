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
from segmentation.experiments.stored_config import cleared
from segmentation.experiments.sweep_session import FinishedJob, SweepSession
from segmentation.runtime.threads import threads_for
from segmentation.tracking.adoption import check_adoptable
from segmentation.tracking.identity import config_hash
from segmentation.tracking.left_behind import mark_left_behind
from segmentation.tracking.runs import find_run, stored_config
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
    adopted = _adopted(config.tracking, call)
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
        store = adopted[0] if adopted else call.open_store(config.tracking)
        mark_left_behind(store)
        run_id = adopted[1] if adopted else None
        command = f"segment fit {shlex.join(call.overrides)}".rstrip()
        logged = configured.log(result, read, store, config, command=command, run_id=run_id)
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
    store = call.open_store(tracking)
    run = find_run(store, str(plain["run_id"]))
    changed = [key for key in given if key != "run_id" and not key.startswith("hydra")]
    merged = OmegaConf.create(schema.literal(stored_config(store, run.info.run_id)))
    composed = OmegaConf.create(schema.literal(plain))
    for key in changed:
        chosen = OmegaConf.select(composed, key)
        # A text comes back without the mark that keeps it as it is, a group with it.
        chosen = schema.literal(chosen) if isinstance(chosen, str) else chosen
        OmegaConf.update(merged, key, chosen, merge=False)
    # What decides how the stored config is used never comes from itself.
    for key in ("tracking", "run_id", "trust", "force"):
        merged[key] = composed[key]
    container = OmegaConf.to_container(merged, resolve=True)
    assert isinstance(container, dict)
    return cleared(
        {str(key): value for key, value in container.items()},
        store=store,
        run=run,
        given=changed,
        trust=bool(plain["trust"]),
        say=say,
    )


def _adopted(tracking: TrackingConfig, call: Call) -> tuple[Store, str] | None:
    """Return the run that ``mlflow run`` created for us, with the store to log to, if any.

    Raises
    ------
    TrackingError
        There is no such run, or it holds a result.
    """
    run_id = os.environ.get("MLFLOW_RUN_ID")
    if not run_id:
        return None
    store = call.open_store(tracking)
    try:
        run = find_run(store, run_id)
    except TrackingError as error:
        raise TrackingError(f"MLFLOW_RUN_ID={run_id}: {error}") from error
    check_adoptable(run)
    return replace(store, experiment_id=run.info.experiment_id), run_id
