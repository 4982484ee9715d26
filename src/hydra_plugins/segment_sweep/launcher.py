"""A launcher that runs jobs in forked processes, so that nothing is imported or read twice."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, configure_log, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from hydra_plugins.segment_sweep._compat import error_of, returned
from segmentation.runtime.forks import Team

if TYPE_CHECKING:
    from segmentation.experiments.sweep_session import FinishedJob

    # From a fork: the job, its exception and its reports. If no job was ordered: a job that cannot
    # be composed.
    Answer = tuple[int | None, BaseException | None, list[FinishedJob]]

#: How long an interrupted fork may take to end its run before it is killed.
GRACE_SECONDS = 8


class ForkLauncher(Launcher):
    """Run the jobs of a sweep in forks of this process, or in this process if one is enough.

    Parameters
    ----------
    processes : int, optional
        By default as many as shorten the sweep; 1 runs all jobs in this process.
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
        """Compose all jobs, run them, and return what each returned or raised."""
        # Imported lazily: every command imports this plugin, and this import is heavy.
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
        """Have each fork compose its share of the jobs, then distribute the jobs."""
        from segmentation.cli.commands import sweep

        composed: dict[int, DictConfig] = {}

        def work(fork: int, job: int | None) -> Answer:
            """Run a job; without one, compose the fork's share and return the first that fails."""
            if job is not None:
                config = composed.pop(job, None) or self._compose(jobs[job])
                finished: list[FinishedJob] = []
                sweep.report_to(finished.append)
                return job, _error_of(self._run(config, first + job)), finished
            for own in range(fork, len(jobs), processes):
                try:
                    composed[own] = self._compose(jobs[own])
                except Exception:
                    return own, None, []
            return None, None, []

        forks = range(processes)
        with Team(work, forks, grace=GRACE_SECONDS) as team:
            for fork in forks:
                team.order(fork, None)
            for _, (unfit, *_) in team.answers():
                if unfit is not None:
                    # Compose it again here to raise the exception itself.
                    self._compose(jobs[unfit])
                    raise RuntimeError(f"{jobs[unfit]} could be composed here but not in a fork")
            lost = RuntimeError("a process of the sweep ended before its job did (out of memory?)")
            errors: dict[int, BaseException | None] = dict.fromkeys(range(len(jobs)), lost)
            left = [*errors]

            def deal(fork: int) -> None:
                """Give a fork the next job of its share, else the last of another's share."""
                own = [job for job in left if job % processes == fork]
                if left and team.order(fork, job := own[0] if own else left[-1]):
                    left.remove(job)

            for fork in forks:
                deal(fork)
            for fork, (job, error, finished) in team.answers():
                assert job is not None
                errors[job] = error
                deal(fork)
                for each in finished:
                    sweep.reported(each)
        return [returned(jobs[job], error) for job, error in errors.items()]


def _error_of(done: JobReturn) -> BaseException | None:
    error = error_of(done)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
