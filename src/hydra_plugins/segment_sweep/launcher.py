"""A launcher whose jobs run in forked processes: nothing is imported or read twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.segment_sweep._compat import error_of, returned
from segmentation.runtime import interrupts
from segmentation.runtime.forks import forked

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
        from segmentation.cli.commands import sweep

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
        team = _Team(len(jobs), processes)
        try:
            for number in range(processes):
                team.start(self._work, number, team.share(number), jobs, first)
            unfit = team.composed()
            if unfit is not None:
                # Here once more, for the exception itself.
                self._compose(jobs[unfit])
                raise RuntimeError(f"{jobs[unfit]} was composed here and not in a fork")
            return [returned(jobs[i], error) for i, error in enumerate(team.errors())]
        finally:
            team.end()

    def _work(
        self,
        results: Connection,
        orders: Connection,
        share: range,
        jobs: list[list[str]],
        first: int,
    ) -> None:
        """What a forked process does: compose its share of the jobs, then run what it is told."""
        composed: dict[int, DictConfig] = {}
        for index in share:
            try:
                composed[index] = self._compose(jobs[index])
            except Exception:
                results.send(("unfit", index, None))
                return
        results.send(("composed", None, None))
        while (index := orders.recv()) is not None:
            config = composed.pop(index, None) or self._compose(jobs[index])
            results.send(("done", index, _error_of(self._run(config, first + index))))


class _Team:
    """The forked processes, seen from the process that waits for them."""

    def __init__(self, jobs: int, processes: int) -> None:
        self.jobs, self.processes = jobs, processes
        self.left = list(range(jobs))
        self.members: dict[Connection, _Member] = {}
        # Nothing is ever written: a process that reads its end knows that this one is gone.
        self.alive_read, self.alive_write = os.pipe()

    def share(self, number: int) -> range:
        """The jobs a process composes, and runs unless another has nothing left to do."""
        return range(number, self.jobs, self.processes)

    def start(self, work: Any, number: int, *arguments: Any) -> None:
        results, theirs = multiprocessing.Pipe(duplex=False)
        orders_theirs, orders = multiprocessing.Pipe(duplex=False)
        others = [each.orders for each in self.members.values()]
        inherited = [results, orders, *self.members, *others]

        def body() -> None:
            os.close(self.alive_write)
            for connection in inherited:
                connection.close()
            _end_with_parent(self.alive_read)
            interrupts.listen(once=True)
            # The process that waits says what happened.
            with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
                work(theirs, orders_theirs, *arguments)

        process = forked(body)
        theirs.close()
        orders_theirs.close()
        self.members[results] = _Member(process, orders, self.share(number))

    def composed(self) -> int | None:
        """Wait until all jobs are composed; gives the number of one that could not be."""
        waiting = set(self.members)
        while waiting:
            for connection in wait(list(waiting)):
                what, index, _ = self._receive(connection)
                if what == "unfit":
                    return index
                waiting.discard(connection)
        return None

    def errors(self) -> list[BaseException | None]:
        """Deal the jobs out as processes become free; gives what each raised, in their order."""
        lost = RuntimeError("a process of the sweep ended before its job did (killed? no memory?)")
        errors: dict[int, BaseException | None] = dict.fromkeys(range(self.jobs), lost)
        at_work = set(self.members)
        for results in self.members:
            self._order(results)
        while at_work:
            for connection in wait(list(at_work)):
                what, index, error = self._receive(connection)
                if what == "done":
                    errors[index] = error
                    self._order(connection)
                else:
                    at_work.discard(connection)
        return list(errors.values())

    def _order(self, connection: Any) -> None:
        """Give a process its next own job, else the last of another's, else the word to end."""
        member = self.members[connection]
        own = [index for index in self.left if index in member.share]
        index = own[0] if own else self.left[-1] if self.left else None
        # A process that was killed hears nothing, and its job is another's.
        with contextlib.suppress(BrokenPipeError):
            member.orders.send(index)
            if index is not None:
                self.left.remove(index)

    def _receive(self, connection: Any) -> tuple[str, int, BaseException | None]:
        try:
            what, index, error = connection.recv()
        except (EOFError, ConnectionResetError):
            return "ended", -1, None
        return what, index, error

    def end(self) -> None:
        """See that no process is left: interrupt those at work, kill those that do not listen."""
        os.close(self.alive_read)
        for connection, member in self.members.items():
            connection.close()
            member.orders.close()
        # At the end of a sweep they end by themselves.
        patience = 0.2 if sys.exc_info()[0] is None else 0
        processes = [member.process for member in self.members.values()]
        for process in processes:
            process.join(patience)
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join(GRACE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()
        os.close(self.alive_write)


@dataclass(frozen=True)
class _Member:
    """A forked process, the pipe it takes its orders from and the jobs it has composed."""

    process: BaseProcess
    orders: Connection
    share: range


def _error_of(done: JobReturn) -> BaseException | None:
    error = error_of(done)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent(alive: int) -> None:
    """When the waiting process is gone, killed say, end this one as Ctrl-C would."""

    def watch() -> None:
        os.read(alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
