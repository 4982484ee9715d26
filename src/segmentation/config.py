"""The schema every command's config is checked against: a typo or a wrong type is refused.

Plain dataclasses; `segmentation.cli` stores them with Hydra. Hydra checks types while composing;
`load` checks again what Hydra lets pass (keys added with ``+``) and what types cannot say.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from segmentation.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass
class DataConfig:
    """Where the customers come from and how the file is read."""

    source: str = MISSING  # demo | csv | parquet | transactions | sql | spark_table
    path: str | None = None
    table: str | None = None
    format: str | None = None
    url: str | None = None
    query: str | None = None
    id: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    missing: str = "error"  # error | drop | median
    rename: dict[str, str] = field(default_factory=dict)
    default_features: dict[str, Any] | None = None
    customers: int | None = None
    seed: int | None = None
    date: str | None = None
    amount: str | None = None
    price: str | None = None
    quantity: str | None = None
    as_of: str | None = None
    returns: str | None = None
    date_format: str | None = None


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
class EngineConfig:
    """What fits K-Means, and how hard it searches."""

    name: str = MISSING
    effort: str = "default"  # fast | default | thorough
    path: str = "auto"  # auto | exact | sampled
    polish: str = "passes"  # passes | full
    master: str | None = None
    partitions: int | None = None
    sample: int | None = None


@dataclass
class TrackingConfig:
    """Where runs are logged."""

    uri: str | None = None
    experiment: str = "customer-segments"
    log_customers: bool | None = None


@dataclass
class NamingConfig:
    """How segments are named; what is left out is `segmentation.profiling.naming`'s English."""

    words: dict[str, str] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    # Mappings with keys of the user's own: null and not typed, or Hydra would refuse new keys given
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

    data: DataConfig = MISSING
    features: FeaturesConfig = MISSING
    # A name of the scaling table, or `_target_` and its arguments: free keys, checked when built.
    scaling: dict[str, Any] = MISSING
    k: KConfig = MISSING
    choice: dict[str, Any] = MISSING
    engine: EngineConfig = MISSING
    tracking: TrackingConfig = MISSING
    compare: ReferenceConfig = field(default_factory=ReferenceConfig)
    # With a default, so that a run logged without one can be run again.
    naming: NamingConfig = field(default_factory=NamingConfig)
    seed: int = 0
    run_id: str | None = None
    force: bool = False


@dataclass
class DataOnly:
    """The part of `FitConfig` that says where the customers are; a sweep reads them first."""

    data: DataConfig = MISSING


@dataclass
class CompareConfig:
    """`segment compare`."""

    tracking: TrackingConfig = MISSING
    sweep_id: str | None = None
    filter: str | None = None
    sort: str | None = None
    top: int = 20
    format: str = "table"  # table | csv | json | markdown


@dataclass
class PromoteConfig:
    """`segment promote`."""

    tracking: TrackingConfig = MISSING
    # One key a gate: `segmentation.cli.schemas` types it from the table of gates.
    promotion: Any = None
    run_id: str | None = None
    model: str = "customer-segments"
    dry_run: bool = False
    override: str | None = None
    copy_to: str | None = None


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


@dataclass
class ScoreConfig:
    """`segment score`."""

    data: DataConfig = MISSING
    tracking: TrackingConfig = MISSING
    engine: EngineConfig = MISSING
    model: str = "models:/customer-segments@champion"
    out: str = MISSING
    overwrite: bool = False


@dataclass
class Limits:
    """Where a number calls for watching, and where for training anew."""

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

    data: DataConfig = MISSING
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


#: Keys of `data` that mean something for one source only.
SOURCE_KEYS = {
    "demo": ("customers", "seed"),
    "csv": ("path", "id", "delimiter", "decimal", "encoding"),
    "parquet": ("path", "id"),
    "transactions": (
        *("path", "id", "date", "amount", "price", "quantity", "as_of", "returns", "date_format"),
        *("delimiter", "decimal", "encoding"),
    ),
    "sql": ("url", "query", "id"),
    "spark_table": ("path", "table", "format", "id", "delimiter", "encoding"),
}
#: Keys of `engine` that mean something for Spark only.
SPARK_KEYS = ("master", "partitions", "sample")
#: A sample below this loses WCSS in silence.
LEAST_SAMPLE = 50_000

_EXAMPLES = {
    "data.path": "customers.csv",
    "out": "scored.csv",
    "data.url": "sqlite:///shop.db",
    "data.query": "customers.sql",
    "choice.k": "5",
    "tracking.uri": "http://127.0.0.1:5000",
}

Config = TypeVar("Config", bound="DataclassInstance")


def load(
    plain: Mapping[str, Any], schema: type[Config], *, composed: DictConfig | None = None
) -> Config:
    """Turn a composed, resolved config into its dataclass, or say what is wrong with it.

    Parameters
    ----------
    plain : mapping
        The config as plain containers, interpolations resolved.
    schema : type
        The dataclass: a command's, or one for a part of its config.
    composed : DictConfig, optional
        The same as Hydra has merged it into the schema: where nothing is wrong with it, that is
        not done again, which takes twenty times as long as all else here.

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
        merged = OmegaConf.unsafe_merge(OmegaConf.structured(schema), dict(plain))
        config = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise ConfigError(unknown_key(str(error.full_key), schema)) from error
    except MissingMandatoryValue as error:
        raise ConfigError(not_set(error.full_key or "a value")) from error
    except OmegaConfBaseException as error:
        raise ConfigError(f"config key {error.full_key}: {first_line(error)}") from error
    assert isinstance(config, schema)
    return _checked(config)


def _checked(config: Config) -> Config:
    """See that keys which hang together fit."""
    if isinstance(config, FitConfig | DataOnly | ScoreConfig | MonitorConfig):
        _check_source(config.data)
    if isinstance(config, FitConfig | ScoreConfig):
        _check_engine(config.engine, config.data)
    elif isinstance(config, MonitorConfig) and config.data.source == "spark_table":
        raise ConfigError(
            "segment monitor does not read Spark tables: write a sample of the new customers to a "
            "file and name it with data=parquet data.path=…"
        )
    return config


def not_set(key: str) -> str:
    """Message for a key that must be given."""
    return f"{key} is not set; give it, for example {key}={_EXAMPLES.get(key, 'VALUE')}"


def first_line(error: BaseException) -> str:
    """The sentence of a Hydra or OmegaConf error, without its lines of detail."""
    return str(error).strip().splitlines()[0]


def unknown_key(full_key: str, schema: type) -> str:
    """Message for a key that is not in the schema, with what is allowed there."""
    parent, _, key = full_key.rpartition(".")
    owner = get_type_hints(schema).get(parent, schema if "." not in parent else None)
    if not is_dataclass(owner):
        # `choice`, `scaling`, `naming.words`: which keys there are depends on the option chosen.
        group = parent.partition(".")[0]
        return f"the chosen {parent} has no key {full_key}; see conf/{group}/ for those it has."
    allowed = [item.name for item in fields(owner)]
    close = difflib.get_close_matches(key, allowed, n=1)
    hint = f" Did you mean {parent + '.' if parent else ''}{close[0]}?" if close else ""
    where = f"in {parent}" if parent else "at the top"
    return f"there is no config key {full_key}. Allowed {where}: {', '.join(allowed)}.{hint}"


def _check_source(data: DataConfig) -> None:
    if data.source not in SOURCE_KEYS:
        raise ConfigError(f"data.source={data.source}: allowed are {', '.join(SOURCE_KEYS)}.")
    foreign = {key for keys in SOURCE_KEYS.values() for key in keys}
    for key in sorted(foreign - set(SOURCE_KEYS[data.source])):
        if getattr(data, key) is not None:
            owners = [source for source, keys in SOURCE_KEYS.items() if key in keys]
            raise ConfigError(
                f"data.{key} has no meaning for data.source={data.source}; "
                f"it belongs to {' and '.join(owners)}: add data={owners[0]}."
            )


def _check_engine(engine: EngineConfig, data: DataConfig) -> None:
    if engine.name != "spark":
        for key in SPARK_KEYS:
            if getattr(engine, key) is not None:
                raise ConfigError(f"engine.{key} has no meaning without Spark: add engine=spark.")
        if data.source == "spark_table":
            raise ConfigError(
                "data=spark_table is read by Spark: add engine=spark, or read a file with "
                "data=parquet or data=csv."
            )
        return
    if engine.path != "auto":
        raise ConfigError(
            f"engine.path={engine.path} is for tables in memory; engine=spark has one path."
        )
    if engine.partitions is not None and engine.partitions < 1:
        raise ConfigError(f"engine.partitions={engine.partitions}: at least 1 is needed.")
    if engine.sample is not None and engine.sample < LEAST_SAMPLE:
        raise ConfigError(
            f"engine.sample={engine.sample}: at least {LEAST_SAMPLE:,} customers are needed; a "
            "smaller sample leads to segments that are worse for all the others."
        )
