"""A multirun of ``segment fit``: open the study before its jobs, rank them after."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from segmentation import config as schema
from segmentation.cli.commands.call import Call, SweepDefinition
from segmentation.cli.commands.output import print_best, say, ui_hint
from segmentation.config import TrackingConfig
from segmentation.errors import ConfigError
from segmentation.evaluation import agreement
from segmentation.experiments import ranking, run
from segmentation.experiments import sweep as study
from segmentation.experiments.run import SweepJob
from segmentation.runtime import interrupts
from segmentation.runtime.forks import can_fork
from segmentation.runtime.redaction import masked
from segmentation.runtime.threads import processes_for, threads_for
from segmentation.tracking import runs
from segmentation.tracking.store import Store, release_connections

#: Tells the jobs of a sweep, which may run in other processes, which sweep they belong to.
SWEEP_VARIABLE = "SEGMENT_SWEEP"
#: Imported by Hydra where its joblib launcher is used.
JOBLIB_LAUNCHER = "hydra_plugins.hydra_joblib_launcher._core"
#: What `mlflow run` presets; a sweep makes one run for each configuration instead.
MLFLOW_RUN_VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
#: Keys that do not make a sweep another sweep.
NO_DEFINITION = ("tracking", "force", "hydra")
SHOWN_RUNS = 20
#: How long an interrupted sweep waits for its other processes to end.
GRACE_SECONDS = 10

# The sweep this process has opened: Hydra gives its callbacks no other place to keep it.
_open: list[tuple[Store, SweepJob, Call, TrackingConfig]] = []
# How many customers its jobs have, where they all have the same.
_customers: list[int | None] = [None]


def current_job() -> SweepJob | None:
    """The sweep this job belongs to, if it does."""
    text = os.environ.get(SWEEP_VARIABLE)
    return None if text is None else SweepJob(**json.loads(text))


def start(sweep: SweepDefinition, call: Call) -> None:
    """Read the data and open the parent run, once, before any job."""
    for variable in MLFLOW_RUN_VARIABLES:
        os.environ.pop(variable, None)
    base = {key: value for key, value in sweep.base.items() if key not in NO_DEFINITION}
    customers = None
    # With one of these swept, or a stored config in place of this one, the data are not known yet.
    unknown = {"data", "experiment"} & {key.split(".")[0] for key in sweep.swept}
    if not unknown and sweep.base.get("run_id") is None:
        data = schema.load({"data": base["data"]}, schema.DataOnly).data
        customers = run.read_customers_of_sweep(base, say)
        # The same file in another place is the same study.
        base["data"] = {"digest": customers.digest, "features": data.default_features}
    tracking_config = schema.load(
        {"tracking": sweep.base["tracking"]}, schema.PromoteConfig
    ).tracking
    store = call.open_store(tracking_config)
    left = runs.mark_left_behind(store)
    varied = [
        override
        for override in sweep.overrides
        if override.lstrip("+~").split("=")[0] in sweep.swept
    ]
    # Broken into before it is known here, the parent run would stay RUNNING.
    with interrupts.held():
        job = study.start(
            store,
            study.sweep_id({"base": base, "params": dict(sweep.params), "varied": varied}),
            name=sweep.name or ", ".join(dict.fromkeys(sweep.swept)) or "sweep",
            question=study.question_of(
                sweep.file.read_text(encoding="utf-8").splitlines() if sweep.file.is_file() else []
            ),
            command=_command(sweep),
            customers=customers,
            total=sweep.total,
        )
        _open.append((store, job, call, tracking_config))
    _customers[0] = None if customers is None else len(customers.ids)
    os.environ[SWEEP_VARIABLE] = json.dumps(asdict(job))
    again = ", run again because of force=true" if sweep.base.get("force") else ""
    done = f"{job.done} of {job.total} already done{again}" if job.done else f"{job.total} runs"
    killed = f", {left} left behind by a killed process: marked KILLED" if left else ""
    say(f"Sweep {job.sweep_id}: {done}{killed}")


def _command(sweep: SweepDefinition) -> str:
    typed = shlex.join(sweep.overrides)
    # A sweep file asks for its multirun itself.
    command = f"segment fit {typed}" if sweep.name else f"segment fit -m {typed}"
    return masked(command, sweep.base["data"].get("url"))


@contextmanager
def processes(jobs: int, asked: int | None) -> Iterator[int]:
    """How many processes the jobs of the sweep share, and the threads that leaves each.

    Parameters
    ----------
    jobs : int
    asked : int, optional
        How many the user wants; by default as many as pay, on Linux: elsewhere a fork is not safe.
    """
    customers = _customers[0]
    if asked is not None and asked < 1:
        raise ConfigError(
            f"hydra.launcher.processes={asked}: at least 1, or null for all that pay."
        )
    number = min(asked or processes_for(customers, jobs), jobs) if can_fork() else 1
    if number > 1:
        say(f"  {number} at a time; one after another with hydra/launcher=basic")
    # With connections the processes would share, one would read the answers to another.
    release_connections()
    with threads_for(customers or 0, number):
        yield number


def job_started(overrides: tuple[str, ...]) -> None:
    """Say what runs now, on a terminal: the line is overwritten by the next."""
    if sys.stderr.isatty():
        print(f"\r\033[K  now {' '.join(overrides)} …", end="", file=sys.stderr, flush=True)


def job_ended(store: Store, job: SweepJob, line: str) -> None:
    """Say what a job found, how far the sweep is, the best so far and the time left."""
    done, first = study.so_far(store, job)
    new = max(done - job.done, 1)
    left = (time.time() - job.started) / new * max(job.total - done, 0)
    remaining = f", about {left:.0f} s left" if done < job.total else ""
    best = f"; best so far {first}" if first else ""
    erase = "\r\033[K" if sys.stderr.isatty() else ""
    say(f"{erase}[{done:>{len(str(job.total))}}/{job.total}] {line}{best}{remaining}")


def finish() -> None:
    """Close the parent run and print the ranking of its runs."""
    _print_ranking(*_open.pop(), "FINISHED")


def close(*, interrupted: bool) -> None:
    """End a sweep, also one that was interrupted or whose jobs failed; nothing stays RUNNING."""
    os.environ.pop(SWEEP_VARIABLE, None)
    while _open:
        store, job, call, tracking = _open.pop()
        _reap(store, job)
        status = "KILLED" if interrupted else "FAILED"
        _print_ranking(store, job, call, tracking, status)
    if JOBLIB_LAUNCHER in sys.modules:
        # joblib keeps its processes, and they keep this sweep in their environment.
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _reap(store: Store, job: SweepJob) -> None:
    """Wait for the sweep's other processes to end, and mark what they left behind."""
    deadline = time.monotonic() + GRACE_SECONDS
    while runs.running_in_sweep(store, job.sweep_id) and time.monotonic() < deadline:
        if not runs.mark_left_behind(store):
            time.sleep(0.2)


def _print_ranking(
    store: Store, job: SweepJob, call: Call, tracking: TrackingConfig, status: str
) -> None:
    ranked, same, report = study.finish(store, job, status)
    if ranked.empty:
        print("No run of this sweep finished.")
        return
    print()
    print(ranking.render(ranked, form="table", top=SHOWN_RUNS))
    if len(ranked) > SHOWN_RUNS:
        print(f"… {SHOWN_RUNS} of {len(ranked)} runs")
    again = call.next(f"segment compare sweep_id={job.sweep_id} top={job.total}", tracking)
    print_best(ranked, again, call, tracking, report=report)
    story = agreement.sentence(same)
    if story:
        print(story)
    if len(ranked) < job.total:
        print(
            f"{len(ranked)} of {job.total} finished. The same command again does the rest only.",
        )
    print(f"Sweep:  {store.link(job.parent_run_id)}{ui_hint(store, call, tracking)}", flush=True)
