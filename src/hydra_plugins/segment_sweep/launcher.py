"""A launcher whose jobs run in forked processes: nothing is imported or read twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

#: How long an interrupted process may take to end its run before it is killed.
GRACE_SECONDS = 8


class ForkLauncher(Launcher):
    """Runs the jobs of a sweep in several forks of this process, or in it where one is enough.

    Parameters
    ----------
    processes : int, optional
        By default as many as pay; 1 runs all jobs in this process.
    """

    config: DictConfig
    task_function: TaskFunction
    hydra_context: HydraContext

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what `launch` needs."""
        self.config, self.task_function = config, task_function
        self.hydra_context = hydra_context

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Compose all jobs, then run them; gives what each returned or raised."""
        # A plugin is imported by every command, and this is heavy.
        from segmentation.commands import sweep

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = [list(overrides) for overrides in job_overrides]
        with sweep.processes(len(jobs), self.processes) as processes:
            if processes > 1:
                return self._in_forks(jobs, initial_job_idx, processes)
            configs = [self._compose(job) for job in jobs]
            return [self._run(each, initial_job_idx + i) for i, each in enumerate(configs)]

    def _compose(self, overrides: list[str]) -> DictConfig:
        loader = self.hydra_context.config_loader
        config: DictConfig = loader.load_sweep_config(self.config, overrides)
        return config

    def _run(self, config: DictConfig, number: int) -> JobReturn:
        with open_dict(config):
            config.hydra.job.id = number
            config.hydra.job.num = number
        done = run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return done

    def _in_forks(self, jobs: list[list[str]], first: int, processes: int) -> list[JobReturn]:
        context = multiprocessing.get_context("fork")
        team = _Team(context, len(jobs))
        try:
            for number in range(processes):
                team.start(self._work, number, processes, jobs, first)
            unfit = team.composed()
            if unfit is not None:
                # Here once more, for the exception itself.
                self._compose(jobs[unfit])
                raise RuntimeError(f"{jobs[unfit]} was composed here and not in a fork")
            return [_returned(jobs[i], error) for i, error in enumerate(team.errors())]
        finally:
            team.end()

    def _work(
        self, member: _Member, number: int, processes: int, jobs: list[list[str]], first: int
    ) -> None:
        """What a forked process does: its share of the jobs, then what others have not begun."""
        own = range(number, len(jobs), processes)
        composed: dict[int, DictConfig] = {}
        for index in own:
            try:
                composed[index] = self._compose(jobs[index])
            except Exception:
                member.tell("unfit", index)
                return
        member.tell("composed", None)
        if not member.may_begin():
            return
        # Others' jobs from behind, where their own turn comes last.
        for index in [*own, *(i for i in reversed(range(len(jobs))) if i not in own)]:
            if member.takes(index):
                config = composed.pop(index, None) or self._compose(jobs[index])
                done = self._run(config, first + index)
                member.tell("done", (index, _error_of(done)))


class _Member:
    """A forked process's side of the team."""

    def __init__(self, taken: Any, results: Connection, begin: Connection) -> None:
        self.taken, self.results, self.begin = taken, results, begin

    def tell(self, what: str, content: Any) -> None:
        self.results.send((what, content))

    def may_begin(self) -> bool:
        with contextlib.suppress(EOFError):
            return bool(self.begin.recv())
        return False

    def takes(self, index: int) -> bool:
        """Whether this process is the first to ask for a job."""
        with self.taken.get_lock():
            if self.taken[index]:
                return False
            self.taken[index] = 1
            return True


class _Team:
    """The forked processes, seen from the process that waits for them."""

    def __init__(self, context: ForkContext, jobs: int) -> None:
        self.context, self.jobs = context, jobs
        self.taken = context.Array("b", jobs)
        self.members: dict[Connection, tuple[ForkProcess, Connection]] = {}
        # Nothing is ever written: a process that reads its end knows that this one is gone.
        self.alive_read, self.alive_write = os.pipe()

    def start(self, work: Any, *arguments: Any) -> None:
        ours, theirs = self.context.Pipe(duplex=False)
        begin_theirs, begin = self.context.Pipe(duplex=False)
        inherited = [ours, begin, *self.members, *(each[1] for each in self.members.values())]

        def body() -> None:
            os.close(self.alive_write)
            for connection in inherited:
                connection.close()
            _end_with_parent(self.alive_read)
            member = _Member(self.taken, theirs, begin_theirs)
            with _interruptible_once():
                work(member, *arguments)

        process = self.context.Process(target=body)
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Threads of BLAS, idle and restarted after a fork.
            warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", append=False)
            process.start()
        theirs.close()
        begin_theirs.close()
        self.members[ours] = (process, begin)

    def composed(self) -> int | None:
        """Wait until all jobs are composed and let them run; else the number of one that fails."""
        waiting = set(self.members)
        while waiting:
            for connection in wait(list(waiting)):
                what, content = self._receive(connection)
                if what != "composed":
                    return int(content) if what == "unfit" else None
                waiting.discard(connection)
        for _, begin in self.members.values():
            begin.send(True)
        return None

    def errors(self) -> list[BaseException | None]:
        """What the jobs raised, in their order."""
        lost = RuntimeError("a process of the sweep ended before its job did (killed? no memory?)")
        errors: dict[int, BaseException | None] = dict.fromkeys(range(self.jobs), lost)
        at_work = set(self.members)
        while at_work:
            for connection in wait(list(at_work)):
                what, content = self._receive(connection)
                if what == "done":
                    errors[content[0]] = content[1]
                else:
                    at_work.discard(connection)
        return list(errors.values())

    def _receive(self, connection: Any) -> tuple[str, Any]:
        try:
            what, content = connection.recv()
        except EOFError:
            return "ended", None
        return str(what), content

    def end(self) -> None:
        """See that no process is left: interrupt those at work, kill those that do not listen."""
        os.close(self.alive_read)
        processes = [process for process, _ in self.members.values()]
        for connection, (_, begin) in self.members.items():
            connection.close()
            begin.close()
        # At the end of a sweep they end by themselves.
        for process in processes:
            process.join(0.2 if sys.exc_info()[0] is None else 0)
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join(GRACE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        os.close(self.alive_write)


def _returned(overrides: list[str], error: BaseException | None) -> JobReturn:
    status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
    return JobReturn(overrides=overrides, status=status, _return_value=error)


def _error_of(done: JobReturn) -> BaseException | None:
    if done.status != JobStatus.FAILED:
        return None
    error = done._return_value
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error  # type: ignore[no-any-return]


@contextlib.contextmanager
def _interruptible_once() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the job, and the one after does not break into its cleaning up."""

    def interrupted(*_: Any) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupted)
    # The process that waits says what happened.
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        yield


def _end_with_parent(alive: int) -> None:
    """When the waiting process is gone, killed say, end this one as Ctrl-C would."""

    def watch() -> None:
        os.read(alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
