"""Schemas that every command's config is checked against; typos and wrong types are rejected.

The schemas are plain dataclasses, which `segmentation.cli` registers with Hydra. Hydra checks types
while composing. `load` then checks what Hydra accepts (keys added with ``+``) and what types cannot
express. The keys of `data` come from `segmentation.data.sources.SOURCES`, those of `engine` from
`segmentation.clustering.ENGINES`.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from segmentation.clustering.engine_table import ENGINES
from segmentation.data import sources
from segmentation.data.sources import SOURCES, DataOptions
from segmentation.errors import ConfigError, not_set

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Keys = tuple[tuple[str, Any, Any], ...]


# Cached: the same keys must give the same class, since configs of different classes are unequal.
@functools.lru_cache(maxsize=8)
def _composed(name: str, common: type, keys: Keys) -> Any:
    """Build the schema of a group whose options have different keys: the union of these keys.

    Parameters
    ----------
    name : str
        Name of the dataclass.
    common : type
        Dataclass with the keys that all options share.
    keys : tuple of (name, type, default)
        All keys of all options.
    """
    known = {each.name for each in fields(common)}
    new = [key for key in keys if key[0] not in known]
    if not new:
        return common
    made = make_dataclass(name, new, bases=(common,))
    # So that pickle finds the class in the processes of a parallel launcher.
    made.__module__ = __name__
    return made


def _data_keys() -> Keys:
    types = {k: v for line in SOURCES.values() for k, v in get_type_hints(line.options).items()}
    # None means the source's own default.
    return tuple((key, kind | None, None) for key, kind in types.items())


def _engine_keys() -> Keys:
    lines = [ENGINES.line(name) for name in ENGINES]
    types = {k: kind for line in lines for k, kind in get_type_hints(line.options).items()}
    return tuple((key, types[key], each.default) for key, each in ENGINES.fields.items())


@dataclass
class _EngineName:
    name: str = MISSING


if TYPE_CHECKING:

    class DataConfig(DataOptions):
        """Where the customers come from and how they are read: the keys of all sources."""

        def __init__(self, source: str = MISSING, **keys: Any) -> None: ...

        def __getattr__(self, key: str) -> Any: ...

    class EngineConfig(_EngineName):
        """The engine that fits K-Means and its effort: the options of all engines."""

        def __init__(self, name: str = MISSING, **options: Any) -> None: ...

else:
    DataConfig = _composed("DataConfig", DataOptions, _data_keys())
    EngineConfig = _composed("EngineConfig", _EngineName, _engine_keys())


def latest(schema: Any) -> Any:
    """Return the schema of `data` or `engine`, with the keys of lines added since the import."""
    if schema is DataConfig:
        return _composed("DataConfig", DataConfig, _data_keys())
    if schema is EngineConfig:
        return _composed("EngineConfig", EngineConfig, _engine_keys())
    return schema


def engine_options(engine: EngineConfig) -> Any:
    """Return the options of the chosen engine, as `segmentation.clustering.ENGINES` takes them.

    Raises
    ------
    ConfigError
        There is no such engine, or it does not have or does not allow an option.
    """
    return ENGINES.options(engine.name, {k: v for k, v in vars(engine).items() if k != "name"})


@dataclass
class FeaturesConfig:
    """The feature set: which columns, and the role and encoding of each."""

    name: str = MISSING
    columns: list[str] | None = None
    log1p: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    categorical: list[str] = field(default_factory=list)
    profile: list[str] | None = None


@dataclass
class KConfig:
    """The k range; k=1 is always fitted too."""

    min: int = 1
    max: int = 12


@dataclass
class TrackingConfig:
    """Where runs are logged."""

    uri: str | None = None
    experiment: str = "customer-segments"
    log_customers: bool | None = None


@dataclass
class NamingConfig:
    """How segments are named; the defaults are the English of `segmentation.profiling.naming`."""

    words: dict[str, str] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    # Mappings with the user's own keys. They are null and untyped, or Hydra would reject new keys
    # on the command line. `segmentation.profiling.naming` checks them.
    labels: Any = None
    phrases: Any = None
    names: Any = None


@dataclass
class ReferenceConfig:
    """The space in which runs of different feature sets and scalings can be compared."""

    reference: list[str] | None = None


@dataclass
class FitConfig:
    """`segment fit`."""

    data: DataConfig = field(default_factory=lambda: latest(DataConfig)())
    features: FeaturesConfig = MISSING
    # A name of the scaling table, or `_target_` and its arguments: free keys, checked when built.
    scaling: dict[str, Any] = MISSING
    k: KConfig = MISSING
    choice: dict[str, Any] = MISSING
    engine: EngineConfig = field(default_factory=lambda: latest(EngineConfig)())
    tracking: TrackingConfig = MISSING
    compare: ReferenceConfig = field(default_factory=ReferenceConfig)
    # With a default, so that a run logged without one can be run again.
    naming: NamingConfig = field(default_factory=NamingConfig)
    seed: int = 0
    run_id: str | None = None
    trust: bool = False
    force: bool = False


@dataclass
class DataOnly:
    """The part of `FitConfig` that says where the customers are; a sweep reads them first."""

    data: DataConfig = field(default_factory=lambda: latest(DataConfig)())
    engine: EngineConfig = field(default_factory=lambda: latest(EngineConfig)(name="sklearn"))
    seed: int = 0


@dataclass
class CompareConfig:
    """`segment compare`."""

    tracking: TrackingConfig = MISSING
    # Untyped: Hydra reads the id 12e45678 as a number, and a list of str would keep that number.
    runs: Any = None
    out: str | None = None
    overwrite: bool = False
    sweep_id: str | None = None
    filter: str | None = None
    sort: str | None = None
    top: int = 20
    format: str = "table"  # table | csv | json | markdown


@dataclass
class PromoteConfig:
    """`segment promote`."""

    tracking: TrackingConfig = MISSING
    # One key per gate: `segmentation.cli.schemas` builds the type from the table of gates.
    promotion: Any = None
    run_id: str | None = None
    # Typed as data=…, which Hydra would take for the config group: see the line in `COMMANDS`.
    data_set: str | None = None
    sweep_id: str | None = None
    model: str = "customer-segments"
    dry_run: bool = False
    override: str | None = None
    copy_to: str | None = None
    trust: bool = False


@dataclass
class RollbackConfig:
    """`segment rollback`."""

    tracking: TrackingConfig = MISSING
    model: str = "customer-segments"
    reason: str | None = None


@dataclass
class CleanConfig:
    """`segment clean`."""

    tracking: TrackingConfig = MISSING
    # Whether to watch runs on other hosts and in containers for two minutes.
    wait: bool = True
    # Whether to rewrite where a store that was moved says its artifacts are.
    relocate: bool = False


@dataclass
class ScoreConfig:
    """`segment score`."""

    data: DataConfig = field(default_factory=lambda: latest(DataConfig)())
    tracking: TrackingConfig = MISSING
    engine: EngineConfig = field(default_factory=lambda: latest(EngineConfig)())
    model: str = "models:/customer-segments@champion"
    out: str = MISSING
    overwrite: bool = False


@dataclass
class Limits:
    """Limits above which a number calls for watching or for retraining."""

    watch: float = MISSING
    retrain: float = MISSING


@dataclass
class MonitoringConfig:
    """The rules of `segment monitor`'s verdict; see conf/monitoring."""

    confidence: float = 0.99
    psi: Limits = MISSING
    share: Limits = MISSING
    distance: Limits = MISSING
    out_of_range: Limits = MISSING
    rejected: Limits = MISSING


@dataclass
class MonitorConfig:
    """`segment monitor`."""

    data: DataConfig = field(default_factory=lambda: latest(DataConfig)())
    monitoring: MonitoringConfig = MISSING
    tracking: TrackingConfig = MISSING
    model: str = "models:/customer-segments@champion"
    fail_on: str | None = None  # watch | retrain


@dataclass
class UiConfig:
    """`segment ui`."""

    tracking: TrackingConfig = MISSING
    host: str = "127.0.0.1"
    port: int = 5000


_EXAMPLES = {
    "out": "scored.csv",
    "choice.k": "5",
    "tracking.uri": "http://127.0.0.1:5000",
}

Config = TypeVar("Config", bound="DataclassInstance")


def load(
    plain: Mapping[str, Any], schema: type[Config], *, composed: DictConfig | None = None
) -> Config:
    """Convert a composed, resolved config to its dataclass.

    Parameters
    ----------
    plain : mapping
        The config as plain containers, interpolations resolved: what looks like one is text.
    schema : type
        The dataclass: a command's, or one for a part of its config.
    composed : DictConfig, optional
        The same config as merged into the schema by Hydra. If it is valid, it is not merged again,
        which takes twenty times as long as everything else here.

    Raises
    ------
    ConfigError
        An unknown key, a wrong type, a missing value, or a key its data source does not use.
    """
    if composed is not None:
        with contextlib.suppress(OmegaConfBaseException):
            known = OmegaConf.to_object(composed)
            if isinstance(known, schema) and asdict(known) == plain:
                return _checked(known)
    try:
        merged = OmegaConf.unsafe_merge(OmegaConf.structured(schema), literal(plain))
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise ConfigError(unknown_key(str(error.full_key), schema)) from error
    except MissingMandatoryValue as error:
        key = error.full_key or "a value"
        known = _EXAMPLES | sources.examples()
        raise ConfigError(not_set(key, known.get(key, "VALUE"))) from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"config key {error.full_key}: {first_line(error)}") from error
    assert isinstance(config, schema)
    return _checked(config)


def literal(node: Any) -> Any:
    """Return plain containers in which OmegaConf takes every text as it is.

    Examples
    --------
    >>> literal({"names": ["${oc.env:HOME}"]})
    {'names': ['\\\\${oc.env:HOME}']}
    """
    if isinstance(node, str):
        # Backslashes before an interpolation are escapes themselves.
        return re.sub(r"(\\*)\$\{", r"\1\1\\${", node)
    if isinstance(node, Mapping):
        return {key: literal(value) for key, value in node.items()}
    return [literal(value) for value in node] if isinstance(node, list | tuple) else node


def _checked(config: Config) -> Config:
    """Check keys that depend on each other."""
    if isinstance(config, FitConfig | DataOnly | ScoreConfig | MonitorConfig):
        sources.check_keys(config.data)
        spark_only = SOURCES[config.data.source].read is None
        if isinstance(config, FitConfig | ScoreConfig):
            engine_options(config.engine)
            if spark_only and config.engine.name != "spark":
                raise ConfigError(
                    f"data={config.data.source} needs Spark: add engine=spark, or read a file with "
                    "data=parquet or data=csv."
                )
        elif isinstance(config, MonitorConfig) and spark_only:
            raise ConfigError(
                "segment monitor cannot read Spark tables: write a sample of the new customers "
                "to a file and pass it with data=parquet data.path=…"
            )
    return config


def first_line(error: BaseException) -> str:
    """Return the first line of a Hydra or OmegaConf error, without its details."""
    return str(error).strip().splitlines()[0]


def unknown_key(full_key: str, schema: type) -> str:
    """Return the message for a key that is not in the schema, with the allowed keys."""
    parent, _, key = full_key.rpartition(".")
    owner = get_type_hints(schema).get(parent, schema if "." not in parent else None)
    if not is_dataclass(owner):
        # `choice`, `scaling`, `naming.words`: the keys depend on the chosen option.
        group = parent.partition(".")[0]
        return f"the chosen {parent} has no key {full_key}; see conf/{group}/ for the allowed keys."
    allowed = [item.name for item in fields(latest(owner))]
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f" Did you mean {parent + '.' if parent else ''}{close[0]}?" if close else ""
    where = f"in {parent}" if parent else "at the top"
    return f"there is no config key {full_key}. Allowed {where}: {', '.join(allowed)}.{hint}"
