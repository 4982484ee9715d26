"""A sweeper that composes each job once, from files parsed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.segment_sweep.launcher import ForkLauncher


class ComposeOnceSweeper(BasicSweeper):
    """Hydra's `BasicSweeper`, which composes every job to check it and leaves the launcher to
    compose it again, each time reading and parsing all files anew.
    """

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Have the launcher use the configs that were composed for the check."""
        loader = hydra_context.config_loader
        _parse_once(loader)
        self.remembered = RememberingLoader(loader)
        context = HydraContext(config_loader=self.remembered, callbacks=hydra_context.callbacks)  # type: ignore[arg-type]
        super().setup(hydra_context=context, task_function=task_function, config=config)

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose every job, so that a mistake in the last one is told before the first runs."""
        if isinstance(self.launcher, ForkLauncher):
            return  # Its processes do so, side by side, before the first job.
        assert self.config is not None
        for overrides in batch:
            self.remembered.prepare(self.config, list(overrides))


class RememberingLoader:
    """Hydra's config loader, giving out what was composed ahead."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process goes the loader alone: composing is quicker than unpickling.
        return (RememberingLoader, (self.loader,))

    def prepare(self, master_config: DictConfig, sweep_overrides: list[str]) -> None:
        """Compose a job ahead."""
        composed = self.loader.load_sweep_config(master_config, sweep_overrides)
        self.composed[tuple(sweep_overrides)] = composed

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """The config of a job; given out once, since a launcher writes into it."""
        ahead = self.composed.pop(tuple(sweep_overrides), None)
        if ahead is not None:
            return ahead
        config: DictConfig = self.loader.load_sweep_config(master_config, sweep_overrides)
        return config


class ParsedOnce:
    """A config source whose files do not change during a sweep.

    No subclass of Hydra's `ConfigSource`: that would offer it to every Hydra application here.
    """

    def __init__(self, source: ConfigSource) -> None:
        self.source = source
        self.known: dict[tuple[str, str], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def __deepcopy__(self, memo: Any) -> ParsedOnce:
        # Hydra copies its sources for each composition.
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (ParsedOnce, (self.source,))

    def _once(self, question: str, config_path: str) -> Any:
        key = (question, config_path)
        if key not in self.known:
            self.known[key] = getattr(self.source, question)(config_path)
        return self.known[key]

    def load_config(self, config_path: str) -> ConfigResult:
        """A copy: the reader takes the defaults list out of it."""
        result: ConfigResult = copy.deepcopy(self._once("load_config", config_path))
        return result

    def is_group(self, config_path: str) -> bool:
        """Whether there is such a folder."""
        return bool(self._once("is_group", config_path))

    def is_config(self, config_path: str) -> bool:
        """Whether there is such a file."""
        return bool(self._once("is_config", config_path))


def _parse_once(loader: Any) -> None:
    # Hydra offers no way to hand it other sources; where it keeps them elsewhere one day, composing
    # is slower and nothing else.
    sources = getattr(getattr(loader, "repository", None), "sources", None)
    if not isinstance(sources, list):
        return
    for index, source in enumerate(sources):
        # Schemas are Python classes: nothing is parsed, and Hydra knows them by their class.
        if source.scheme() != "structured" and not isinstance(source, ParsedOnce):
            sources[index] = ParsedOnce(source)
