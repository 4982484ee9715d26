"""The table of engines: for each its name, its class and its options.

Nothing heavy is imported here, so that a config can be checked against the table at once. The class
of an engine, and scikit-learn or PySpark with it, is imported when the engine is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from importlib import import_module
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
    """A field of an engine's options.

    Parameters
    ----------
    default : object
    words : str
        Help text: what it does.
    allowed : tuple of str
        The values it may have; empty: any.
    least : int
        The smallest number it may be.
    why : str
        The end of the message for a smaller one.
    elsewhere : str
        The message where an engine that has no such option, ``{engine}``, is given it.
    """
    limits = {"allowed": allowed, "least": least, "why": why, "elsewhere": elsewhere}
    return field(default=default, metadata={"help": words, **limits})


_NO_SPARK = "engine.{key} has no meaning without Spark: add engine=spark."
_EFFORT = "how hard to search for the best WCSS of every k"
_POLISH = (
    "how samples are settled on all rows: passes (until one gains next to nothing) or full "
    "(until Lloyd's algorithm stands still)"
)


@dataclass(frozen=True)
class SklearnOptions:
    """Options of the engine for rows in memory; each field's metadata has its help and limits."""

    effort: str = option("default", _EFFORT, allowed=("fast", "default", "thorough"))
    path: str = option(
        "auto",
        "many rows: exact (every candidate on all rows) or sampled (solve samples, then pass over "
        "all rows)",
        allowed=("auto", "exact", "sampled"),
        elsewhere="engine.{key}={value} is for tables in memory; engine={engine} has one path.",
    )
    polish: str = option("passes", _POLISH, allowed=("passes", "full"))


@dataclass(frozen=True)
class SparkOptions:
    """Options of the engine for rows in Spark; the last three say where the rows come from."""

    effort: str = option("default", _EFFORT, allowed=("fast", "default", "thorough"))
    polish: str = option("passes", _POLISH, allowed=("passes", "full"))
    master: str | None = option(None, "the Spark master; default local[*]", elsewhere=_NO_SPARK)
    partitions: int | None = option(
        None,
        "partitions of the rows, at least; default 16",
        least=1,
        why="is needed.",
        elsewhere=_NO_SPARK,
    )
    sample: int | None = option(
        None,
        "customers that the search, the evidence, the figures and the profiles see; default 100000",
        # A sample below this loses WCSS in silence.
        least=50_000,
        why="customers are needed; a smaller sample leads to segments that are worse for all the "
        "others.",
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
        ``module:Class``, or the class itself: an `segmentation.clustering.base.Engine`, made from
        its options.
    options : type
        A frozen dataclass, its fields made with `option`.
    in_memory : bool
        Whether it takes arrays; else only a command of its own can hand it rows.
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
        """The engine with these options; its module is imported now."""
        if isinstance(self.home, str):
            module, _, name = self.home.partition(":")
            engine: Engine = getattr(import_module(module), name)(options)
            return engine
        return self.home(options)


def changed(options: Options, changes: Mapping[str, Any]) -> Options:
    """Options with some of them changed.

    Raises
    ------
    ConfigError
        There is no such option, or its value is not allowed.
    """
    known = {each.name: each for each in fields(options)}  # type: ignore[arg-type]
    for name, value in changes.items():
        if name not in known:
            raise ConfigError(
                f"this engine has no option engine.{name}; it has {', '.join(known) or 'none'}."
            )
        limits = known[name].metadata
        allowed, least = limits.get("allowed", ()), limits.get("least", 0)
        if allowed and value not in allowed:
            raise ConfigError(f"engine.{name}={value}: allowed are {', '.join(allowed)}.")
        if least and value is not None and value < least:
            raise ConfigError(f"engine.{name}={value}: at least {least:,} {limits['why']}")
    return replace(options, **changes)  # type: ignore[type-var]


class EngineTable(Mapping[str, "Engine"]):
    """Engines by name; each is imported, with its default options, when first asked for.

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
        """Add an engine, or replace the one of that name."""
        self._lines[line.name] = line

    def line(self, name: str) -> EngineLine:
        """The line of one engine.

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
        """The options of all engines by name: the keys that ``engine`` may have in a config."""
        every: dict[str, Field[Any]] = {}
        for line in self._lines.values():
            every = line.fields | every
        return every

    def options(self, name: str, given: Mapping[str, Any]) -> Any:
        """The options of one engine from those of a config, checked; imports nothing.

        Parameters
        ----------
        name : str
        given : mapping of str to object
            Options of this engine, and of others as long as they are None or left at their default.

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
        """The engine with the options of a config, checked as by `options`."""
        options = self.options(name, given)
        return self.line(name).make(options)


ENGINES = EngineTable(
    EngineLine("sklearn", "segmentation.clustering.in_memory:InMemoryEngine", SklearnOptions),
    EngineLine("spark", "segmentation.clustering.spark:SparkEngine", SparkOptions, in_memory=False),
)
