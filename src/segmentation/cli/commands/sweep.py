"""A multirun of ``segment fit``: open the study before its jobs, rank them after."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from segmentation import config as schema
from segmentation.cli.commands.call import Call, SweepDefinition
from segmentation.cli.commands.output import print_best, say, ui_hint
from segmentation.config import TrackingConfig
from segmentation.errors import ConfigError
from segmentation.evaluation import agreement
from segmentation.experiments import ranking
from segmentation.experiments import sweep as study
from segmentation.experiments.read import stored_table
from segmentation.experiments.session import FinishedJob, SweepJob, SweepSession
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


@dataclass(frozen=True)
class _Opened:
    """The sweep this process has opened or joined, and what shows how it went."""

    session: SweepSession
    call: Call
    tracking: TrackingConfig


# Hydra's callbacks, its launcher and the jobs share no object of ours in which to keep it.
_opened: _Opened | None = None


def current_session(call: Call, tracking: TrackingConfig) -> SweepSession | None:
    """The sweep this job belongs to, if it does; joined where another process has opened it."""
    global _opened
    text = os.environ.get(SWEEP_VARIABLE)
    if text is None:
        return None
    job = SweepJob(**json.loads(text))
    if _opened is None or _opened.session.job.parent_run_id != job.parent_run_id:
        session = SweepSession(call.open_store(tracking), job, is_joined=True)
        _opened = _Opened(session, call, tracking)
    return _opened.session


def start(sweep: SweepDefinition, call: Call) -> None:
    """Read the data and open the parent run, once, before any job."""
    global _opened
    for variable in MLFLOW_RUN_VARIABLES:
        os.environ.pop(variable, None)
    base = {key: value for key, value in sweep.base.items() if key not in NO_DEFINITION}
    table = None
    # With one of these swept, or a stored config in place of this one, the data are not known yet.
    unknown = {"data", "experiment"} & {key.split(".")[0] for key in sweep.swept}
    if not unknown and sweep.base.get("run_id") is None:
        table = stored_table(base, say)
        data, *_ = table.key
        # The same file in another place is the same study.
        base["data"] = {"digest": table.shared().digest, "features": data.default_features}
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
        session = study.start(
            store,
            study.sweep_id({"base": base, "params": dict(sweep.params), "varied": varied}),
            name=sweep.name or ", ".join(dict.fromkeys(sweep.swept)) or "sweep",
            question=study.question_of(
                sweep.file.read_text(encoding="utf-8").splitlines() if sweep.file.is_file() else []
            ),
            command=_command(sweep),
            table=table,
            total=sweep.total,
        )
        _opened = _Opened(session, call, tracking_config)
    job = session.job
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
    table = None if _opened is None else _opened.session.table
    customers = None if table is None else len(table.shared().ids)
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


def job_ended(session: SweepSession, finished: FinishedJob) -> None:
    """Tell the process that waits, or say what was found, how far the sweep is and the best so far.

    Only a process that has joined the sweep asks the store how far the others are.
    """
    if session.report is not None:
        session.report(finished)
        return
    session.note(finished.row)
    if session.is_joined:
        session.look()
    job, (done, first) = session.job, session.so_far()
    new = max(done - job.done, 1)
    left = (time.time() - job.started) / new * max(job.total - done, 0)
    remaining = f", about {left:.0f} s left" if done < job.total else ""
    best = f"; best so far {first}" if first else ""
    erase = "\r\033[K" if sys.stderr.isatty() else ""
    say(f"{erase}[{done:>{len(str(job.total))}}/{job.total}] {finished.line}{best}{remaining}")


def report_to(tell: Callable[[FinishedJob], None]) -> None:
    """In a fork: tell the process that waits of finished jobs; that one calls `reported`."""
    if _opened is not None:
        _opened.session.report = tell


def reported(finished: FinishedJob) -> None:
    """In the process that waits: a fork has finished a job."""
    if _opened is not None:
        job_ended(_opened.session, finished)


def finish() -> None:
    """Close the parent run and print the ranking of its runs."""
    global _opened
    opened, _opened = _opened, None
    if opened is not None:
        _print_ranking(opened, "FINISHED")


def close(*, interrupted: bool) -> None:
    """End a sweep, also one that was interrupted or whose jobs failed; nothing stays RUNNING."""
    global _opened
    os.environ.pop(SWEEP_VARIABLE, None)
    opened, _opened = _opened, None
    if opened is not None:
        _reap(opened.session.store, opened.session.job)
        _print_ranking(opened, "KILLED" if interrupted else "FAILED")
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


def _print_ranking(opened: _Opened, status: str) -> None:
    call, tracking = opened.call, opened.tracking
    store, job = opened.session.store, opened.session.job
    ranked, same, report = study.finish(opened.session, status)
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
