"""A multirun of ``segment fit``: open the study before its jobs and rank them afterwards."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from segmentation import config as schema
from segmentation.cli.commands.call import Call, SweepDefinition
from segmentation.cli.commands.output import passing, print_best, say, ui_hint
from segmentation.config import TrackingConfig
from segmentation.errors import ConfigError
from segmentation.evaluation import agreement
from segmentation.experiments import ranking
from segmentation.experiments import sweep as study
from segmentation.experiments.read import stored_table
from segmentation.experiments.sweep_session import FinishedJob, SweepJob, SweepSession
from segmentation.runtime import interrupts
from segmentation.runtime.forks import can_fork
from segmentation.runtime.redaction import masked
from segmentation.runtime.threads import processes_for, threads_for
from segmentation.tracking import runs
from segmentation.tracking.left_behind import mark_left_behind
from segmentation.tracking.store import Store, release_connections

#: Tells the jobs of a sweep, which may run in other processes, which sweep they belong to.
SWEEP_VARIABLE = "SEGMENT_SWEEP"
#: Hydra imports this module if its joblib launcher is used.
JOBLIB_LAUNCHER = "hydra_plugins.hydra_joblib_launcher._core"
#: Variables that `mlflow run` sets; a sweep creates one run per configuration instead.
MLFLOW_RUN_VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
#: Keys that do not change the identity of a sweep.
NO_DEFINITION = ("tracking", "trust", "force", "hydra")
SHOWN_RUNS = 20
#: How long an interrupted sweep waits for its other processes to end.
GRACE_SECONDS = 10


@dataclass(frozen=True)
class _Opened:
    """The sweep this process has opened or joined, and what is needed to report on it."""

    session: SweepSession
    call: Call
    tracking: TrackingConfig


# Hydra's callbacks, its launcher and the jobs share no object of ours that could hold it.
_opened: _Opened | None = None


def current_session(call: Call, tracking: TrackingConfig) -> SweepSession | None:
    """Return the sweep this job belongs to, if any; join it if another process opened it."""
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
    # If one of these is swept, or a stored config replaces this one, the data are not known yet.
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
    left = mark_left_behind(store)
    varied = [
        override
        for override in sweep.overrides
        if override.lstrip("+~").split("=")[0] in sweep.swept
    ]
    # If interrupted before the parent run is known here, it would stay RUNNING.
    with interrupts.held():
        session = study.start(
            store,
            study.sweep_id({"base": base, "params": dict(sweep.params), "varied": varied}),
            name=sweep.name or ", ".join(dict.fromkeys(sweep.swept)) or "sweep",
            question=study.question_of(
                sweep.file.read_text(encoding="utf-8").splitlines() if sweep.file.is_file() else []
            ),
            command=_command(sweep),
            params=_params(sweep, varied),
            table=table,
            total=sweep.total,
            clean=call.next("segment clean", tracking_config),
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
    # A sweep file turns on multirun itself.
    command = f"segment fit {typed}" if sweep.name else f"segment fit -m {typed}"
    return masked(command, sweep.base["data"].get("url"))


def _params(sweep: SweepDefinition, varied: Sequence[str]) -> dict[str, str]:
    """Return the settings of a sweep, named as in its runs: swept ones with all their values."""
    base = sweep.base
    settings = {
        "sweep": sweep.name,
        "features": base["features"].get("name"),
        "scaling": base["scaling"].get("name"),
        **{f"k.{end}": base["k"].get(end) for end in ("min", "max")},
        "choice": base["choice"].get("name"),
        "engine": base["engine"].get("name"),
        "seed": base["seed"],
        **sweep.params,
        **dict(each.lstrip("+~").split("=", 1) for each in varied),
    }
    url = base["data"].get("url")
    return {
        key.replace("k.", "k_"): masked(str(value), url)
        for key, value in settings.items()
        if value is not None
    }


@contextmanager
def processes(jobs: int, asked: int | None) -> Iterator[int]:
    """Choose the number of processes for the jobs of a sweep and limit the threads of each.

    Parameters
    ----------
    jobs : int
    asked : int, optional
        The number the user requests. By default as many as shorten the sweep on Linux, and one
        elsewhere, where a fork is not safe.
    """
    table = None if _opened is None else _opened.session.table
    customers = None if table is None else len(table.shared().ids)
    if asked is not None and asked < 1:
        raise ConfigError(
            f"hydra.launcher.processes={asked}: must be at least 1, or null (automatic)."
        )
    number = min(asked or processes_for(customers, jobs), jobs) if can_fork() else 1
    if number > 1:
        say(f"  {number} at a time; to run one after another: hydra/launcher=basic")
    # Processes that share a connection would read each other's answers.
    release_connections()
    with threads_for(customers or 0, number):
        yield number


def job_started(overrides: tuple[str, ...]) -> None:
    """Print the current job on a terminal; the next line overwrites it."""
    passing(f"  now {' '.join(overrides)} …")


def job_ended(session: SweepSession, finished: FinishedJob) -> None:
    """Report a finished job to the waiting process, or print it with the progress of the sweep.

    Only a process that has joined the sweep asks the store about the other jobs.
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
    passing("")
    say(f"[{done:>{len(str(job.total))}}/{job.total}] {finished.line}{best}{remaining}")


def report_to(tell: Callable[[FinishedJob], None]) -> None:
    """In a fork: report finished jobs to the waiting process, which calls `reported`."""
    if _opened is not None:
        _opened.session.report = tell


def reported(finished: FinishedJob) -> None:
    """In the waiting process: handle a job that a fork has finished."""
    if _opened is not None:
        job_ended(_opened.session, finished)


def finish() -> None:
    """Close the parent run and print the ranking of its runs."""
    global _opened
    opened, _opened = _opened, None
    if opened is not None:
        _print_ranking(opened, "FINISHED")


def close(*, interrupted: bool) -> None:
    """End a sweep, even if it was interrupted or jobs failed; no run stays RUNNING."""
    global _opened
    os.environ.pop(SWEEP_VARIABLE, None)
    opened, _opened = _opened, None
    if opened is not None:
        _reap(opened.session.store, opened.session.job)
        _print_ranking(opened, "KILLED" if interrupted else "FAILED")
    if JOBLIB_LAUNCHER in sys.modules:
        # joblib keeps its processes, whose environment still names this sweep.
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _reap(store: Store, job: SweepJob) -> None:
    """Wait for the sweep's other processes to end, and mark what they left behind."""
    deadline = time.monotonic() + GRACE_SECONDS
    while runs.running_in_sweep(store, job.sweep_id) and time.monotonic() < deadline:
        if not mark_left_behind(store):
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
            f"{len(ranked)} of {job.total} finished. Run the same command again to fit the rest.",
        )
    print(f"Sweep:  {store.link(job.parent_run_id)}{ui_hint(store, call, tracking)}", flush=True)
