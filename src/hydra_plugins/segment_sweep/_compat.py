"""Uses of private names of Hydra and OmegaConf, each covered by `tests/cli/test_compat.py`.

Checked with hydra-core 1.3.2 to 1.3.8 and omegaconf 2.3. None has a public equivalent:

==========================================  =======================================  ===============
private name                                missing public interface                 benefit
==========================================  =======================================  ===============
``BasicSweeper``                            to make a sweeper that splits overrides  no splitting of
                                            as Hydra does                            our own
``ConfigLoaderImpl`` and three methods of   to hand a sweep's launcher configs that  composing a job
it, ``CachingConfigRepository`` and its     are composed already, and to compose     36 ms, once,
``cache``, ``IConfigRepository``            from files parsed once                   not 93 ms twice
the flag ``no_deepcopy_set_nodes``          to put one config into another without   part of the
                                            a copy of it                             same 36 ms
``JobReturn._return_value``                 to read what a failed job raised: the    the reason why
                                            public property prints and raises it     a job failed
==========================================  =======================================  ===============
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra.core.default_element import GroupDefault, InputDefault, ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig, OmegaConf, flag_override

if TYPE_CHECKING:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

__all__ = ["BasicSweeper", "ConfigLoaderImpl", "JobLoader", "error_of", "returned"]


def __getattr__(name: str) -> Any:
    # Looked up on every access: Hydra's plugin search executes the modules of `BasicSweeper` and of
    # our sweeper a second time, which creates new classes, but not this module.
    if name == "BasicSweeper":
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        return BasicSweeper
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def returned(overrides: list[str], error: BaseException | None) -> JobReturn:
    """Build the result Hydra expects for a job that ran in another process.

    Parameters
    ----------
    overrides : list of str
    error : BaseException or None
        The job's exception, if it failed.
    """
    status = JobStatus.COMPLETED if error is None else JobStatus.FAILED
    done = JobReturn(overrides=overrides, status=status)
    done.return_value = error
    return done


def error_of(done: JobReturn) -> BaseException | None:
    """Return the exception of a job; None if it completed."""
    if done.status != JobStatus.FAILED:
        return None
    error: BaseException = done._return_value
    return error


class JobLoader(ConfigLoaderImpl):
    """Hydra's config loader for the jobs of a sweep, which returns configs composed ahead of time.

    Hydra's own settings are the same in all jobs, and composing them is a third of the work. They
    are taken from the sweep.
    """

    #: Hydra's settings of the sweep whose job is being composed.
    settings: DictConfig

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        # Not created as Hydra does it: in a joblib process, Hydra has not found its plugins yet.
        self.loader = loader
        self.config_search_path = loader.config_search_path
        self.repository = copy.copy(loader.repository)
        # Schemas are Python classes: there is nothing to parse, and Hydra checks for their class.
        sources: list[Any] = [
            source if source.scheme() == "structured" else ParsedOnce(source)
            for source in loader.get_sources()
        ]
        self.repository.sources = sources
        self.composed: dict[tuple[str, ...], DictConfig] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # Without the composed configs: composing is faster than unpickling.
        return (JobLoader, (self.loader,))

    def prepare(self, master_config: DictConfig, sweep_overrides: list[str]) -> None:
        """Compose a job ahead of time."""
        composed = self.load_sweep_config(master_config, sweep_overrides)
        self.composed[tuple(sweep_overrides)] = composed

    def load_sweep_config(
        self, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        """Return the config of a job, each copy only once, since a launcher modifies it."""
        ahead = self.composed.pop(tuple(sweep_overrides), None)
        if ahead is not None:
            return ahead
        self.settings = master_config.hydra
        return super().load_sweep_config(master_config, sweep_overrides)

    def _parse_overrides_and_create_caching_repo(
        self, config_name: str | None, overrides: list[str]
    ) -> tuple[list[Override], CachingConfigRepository]:
        parsed = OverridesParser.create().parse_overrides(overrides)
        repository = JobRepository(self.repository)
        self._process_config_searchpath(config_name, parsed, repository)
        return [each for each in parsed if not each.is_hydra_override()], repository

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        config = super()._compose_config_from_defaults_list(defaults, repo)
        own = copy.deepcopy(self.settings)
        OmegaConf.set_readonly(own, None)
        own.overrides.task = []
        with flag_override(config, "no_deepcopy_set_nodes", True):
            config["hydra"] = own
        return config


class JobRepository(CachingConfigRepository):
    """The config files of one job, without Hydra's settings.

    These settings are added last, since every merge traverses the whole config.
    """

    def __init__(self, files: IConfigRepository) -> None:
        # Shallow: a deep copy, as Hydra makes it, would copy all schemas for each job.
        self.delegate = copy.copy(files)
        none = OmegaConf.create({"hydra": {}})
        result = ConfigResult("hydra", "", none, {"package": None}, [], True)
        self.cache = {"config_path=hydra/config": result}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Load a file without the entries of its defaults list that are Hydra's."""
        result = super().load_config(config_path)
        if result is not None and result.defaults_list is not None:
            result.defaults_list = [
                entry for entry in result.defaults_list if not _is_hydras(entry)
            ]
        return result


def _is_hydras(entry: InputDefault) -> bool:
    group = entry.group if isinstance(entry, GroupDefault) else None
    return group is not None and group.lstrip("/").startswith("hydra/")


class ParsedOnce:
    """A config source whose files do not change during a sweep.

    Not a subclass of Hydra's `ConfigSource`, which Hydra would offer to every application.
    """

    def __init__(self, source: ConfigSource) -> None:
        self.source = source
        self.known: dict[tuple[str, str], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def _once(self, question: str, config_path: str) -> Any:
        key = (question, config_path)
        if key not in self.known:
            self.known[key] = getattr(self.source, question)(config_path)
        return self.known[key]

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a copy, since the caller removes the defaults list from it."""
        result: ConfigResult = copy.deepcopy(self._once("load_config", config_path))
        return result

    def is_group(self, config_path: str) -> bool:
        """Return whether the folder exists."""
        return bool(self._once("is_group", config_path))

    def is_config(self, config_path: str) -> bool:
        """Return whether the file exists."""
        return bool(self._once("is_config", config_path))
