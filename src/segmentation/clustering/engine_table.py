"""The table of engines: the name, class and options of each.

Nothing heavy is imported here, so a config can be checked against the table quickly. The class of
an engine, and with it scikit-learn or PySpark, is imported when the engine is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from segmentation.errors import ConfigError

if TYPE_CHECKING:
    from segmentation.clustering.base import Engine
    from segmentation.clustering.in_memory import InMemoryEngine
    from segmentation.clustering.spark import SparkEngine

Options = TypeVar("Options")


def option(
    default: Any,
    words: str,
    *,
    allowed: tuple[str, ...] = (),
    least: int = 0,
    why: str = "",
    elsewhere: str = "engine.{key}={value} belongs to engine={owner}: add engine={owner}.",
) -> Any:
    """Define a field of an engine's options.

    Parameters
    ----------
    default : object
    words : str
        Help text: what the option does.
    allowed : tuple of str
        The allowed values; empty if any value is allowed.
    least : int
        The smallest allowed number.
    why : str
        The end of the error message for a smaller number.
    elsewhere : str
        The error message if the option is given for an engine without it, ``{engine}``.
    """
    limits = {"allowed": allowed, "least": least, "why": why, "elsewhere": elsewhere}
    return field(default=default, metadata={"help": words, **limits})


_NO_SPARK = "engine.{key} has no meaning without Spark: add engine=spark."
_EFFORT = "how hard to search for the best WCSS of every k"
_POLISH = (
    "how solutions of samples are refined on all rows: passes (until a pass gains almost nothing) "
    "or full (until Lloyd's algorithm converges)"
)


@dataclass(frozen=True)
class SklearnOptions:
    """Options of the engine for rows in memory. Field metadata hold the help texts and limits."""

    effort: str = option("default", _EFFORT, allowed=("fast", "default", "thorough"))
    path: str = option(
        "auto",
        "for many rows: exact (every candidate on all rows) or sampled (solve samples, then pass "
        "over all rows)",
        allowed=("auto", "exact", "sampled"),
        elsewhere="engine.{key}={value} only applies to tables in memory; engine={engine} has one "
        "path.",
    )
    polish: str = option("passes", _POLISH, allowed=("passes", "full"))


@dataclass(frozen=True)
class SparkOptions:
    """Options of the engine for rows in Spark; the last three define where the rows come from."""

    effort: str = option("default", _EFFORT, allowed=("fast", "default", "thorough"))
    polish: str = option("passes", _POLISH, allowed=("passes", "full"))
    master: str | None = option(None, "the Spark master; default local[*]", elsewhere=_NO_SPARK)
    partitions: int | None = option(
        None,
        "minimum number of partitions of the rows; default 16",
        least=1,
        why="is needed.",
        elsewhere=_NO_SPARK,
    )
    sample: int | None = option(
        None,
        "customers used for the search, the evidence, the figures and the profiles; default 100000",
        # A smaller sample silently gives a worse WCSS.
        least=50_000,
        why="customers are needed; a smaller sample gives worse segments for all customers outside "
        "it.",
        elsewhere=_NO_SPARK,
    )


@dataclass(frozen=True)
class EngineLine:
    """One engine.

    Attributes
    ----------
    name : str
        As in ``engine=NAME``.
    home : str or callable
        ``module:Class`` or the class itself; calling it with the options returns a
        `segmentation.clustering.base.Engine`.
    options : type
        A frozen dataclass whose fields are made with `option`.
    in_memory : bool
        Whether it takes arrays. If not, only a command of its own can pass it rows.
    """

    name: str
    home: str | Callable[[Any], Engine]
    options: type[Any]
    in_memory: bool = True

    @property
    def fields(self) -> dict[str, Field[Any]]:
        """The options by name."""
        return {each.name: each for each in fields(self.options)}

    def make(self, options: Any) -> Engine:
        """Import the engine's module and return the engine with these options."""
        home = resolve_name(self.home) if isinstance(self.home, str) else self.home
        engine: Engine = home(options)
        return engine


def changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """Return a copy of the options with some changed.

    Raises
    ------
    ConfigError
        There is no such option, or its value is not allowed.
    """
    known = {each.name: each for each in fields(options)}  # type: ignore[arg-type]
    for name, value in changes.items():
        if name not in known:
            raise ConfigError(
                f"this engine has no option engine.{name}; its options are "
                f"{', '.join(known) or 'none'}."
            )
        limits = known[name].metadata
        allowed, least = limits.get("allowed", ()), limits.get("least", 0)
        if allowed and value not in allowed:
            raise ConfigError(f"engine.{name}={value}: allowed are {', '.join(allowed)}.")
        if least and value is not None and value < least:
            raise ConfigError(f"engine.{name}={value}: at least {least:,} {limits['why']}")
    return replace(options, **changes)  # type: ignore[type-var]


class EngineTable(Mapping[str, "Engine"]):
    """Engines by name. Looking one up imports it and returns it with its default options.

    Examples
    --------
    >>> from segmentation.clustering import ENGINES
    >>> list(ENGINES)
    ['sklearn', 'spark']
    >>> fast = ENGINES["sklearn"].with_options(effort="fast")
    >>> fast.options.effort
    'fast'
    """

    def __init__(self, *lines: EngineLine) -> None:
        self._lines = {line.name: line for line in lines}

    @overload
    def __getitem__(self, name: Literal["sklearn"]) -> InMemoryEngine: ...
    @overload
    def __getitem__(self, name: Literal["spark"]) -> SparkEngine: ...
    @overload
    def __getitem__(self, name: str) -> Engine: ...
    def __getitem__(self, name: str) -> Engine:
        line = self._lines[name]
        return line.make(line.options())

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def register(self, line: EngineLine) -> None:
        """Add an engine, or replace the one with the same name."""
        self._lines[line.name] = line

    def line(self, name: str) -> EngineLine:
        """Return the line of one engine.

        Raises
        ------
        ConfigError
            There is no such engine.
        """
        if name not in self._lines:
            raise ConfigError(f"engine={name}: allowed are {', '.join(self._lines)}.")
        return self._lines[name]

    @property
    def fields(self) -> dict[str, Field[Any]]:
        """The options of all engines by name: the keys allowed under ``engine`` in a config."""
        every: dict[str, Field[Any]] = {}
        for line in self._lines.values():
            every = line.fields | every
        return every

    def options(self, name: str, given: Mapping[str, Any]) -> Any:
        """Return the checked options of one engine from a config, without importing the engine.

        Parameters
        ----------
        name : str
        given : mapping of str to object
            Options of this engine; options of other engines must be None or have their default.

        Raises
        ------
        ConfigError
            There is no such engine, it has no such option, or a value is not allowed.
        """
        own, mine = self.line(name).fields, dict(given)
        for owner in self._lines.values():
            for key in mine.keys() & (owner.fields.keys() - own.keys()):
                value, known = mine.pop(key), owner.fields[key]
                if value is not None and value != known.default:
                    words: str = known.metadata["elsewhere"]
                    raise ConfigError(
                        words.format(key=key, value=value, owner=owner.name, engine=name)
                    )
        return changed(self.line(name).options(), mine)

    def configured(self, name: str, given: Mapping[str, Any]) -> Engine:
        """Return the engine with the options of a config, checked as by `options`."""
        options = self.options(name, given)
        return self.line(name).make(options)


ENGINES = EngineTable(
    EngineLine("sklearn", "segmentation.clustering.in_memory:InMemoryEngine", SklearnOptions),
    EngineLine("spark", "segmentation.clustering.spark:SparkEngine", SparkOptions, in_memory=False),
)
