"""A sweeper that composes each job once, from files parsed once."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.segment_sweep._compat import BasicSweeper, ConfigLoaderImpl, JobLoader
from hydra_plugins.segment_sweep.launcher import ForkLauncher


class ComposeOnceSweeper(BasicSweeper):
    """Hydra's `BasicSweeper` without its double work.

    Hydra's sweeper composes every job to check it, and the launcher composes it again. Each time,
    all files are read and parsed again.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Make the launcher use the configs that were composed for the check."""
        assert isinstance(hydra_context.config_loader, ConfigLoaderImpl)
        self.loader = JobLoader(hydra_context.config_loader)
        context = HydraContext(config_loader=self.loader, callbacks=hydra_context.callbacks)
        super().setup(hydra_context=context, task_function=task_function, config=config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job, so that a mistake in the last one is found before the first runs."""
        if isinstance(self.launcher, ForkLauncher):
            return  # Its processes do this in parallel, before the first job.
        assert self.config is not None
        for overrides in batch:
            self.loader.prepare(self.config, list(overrides))
