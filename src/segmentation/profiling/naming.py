"""Names of segments in plain words: what sets each apart, said the same way every time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pandas as pd

from segmentation.errors import ConfigError
from segmentation.evaluation.formats import in_units
from segmentation.profiling.profiles import (
    OTHER_VALUES,
    Line,
    lines_by,
)

LEVELS = ("very_low", "low", "average", "high", "very_high")
#: English; ``conf/naming/`` has the same words and those of other languages.
WORDS: Mapping[str, str] = {
    "very_low": "very low {feature}",
    "low": "low {feature}",
    "average": "average {feature}",
    "high": "high {feature}",
    "very_high": "very high {feature}",
    "category": "{feature} {value}",
    "mixed": "mixed {feature}",
    "separator": ", ",
    "around": "{name} (around {value})",
    "everybody": "all customers",
}
#: See `Naming`.
THRESHOLDS: Mapping[str, float] = {"low": 0.3, "very_low": 0.1, "dominant": 0.75}
LONGEST = 100
#: Of a segment with many features only the strongest are tried out in pairs.
TRIED = 12


@dataclass(frozen=True)
class Naming:
    """How segments are named.

    Attributes
    ----------
    words : mapping
        Replaces entries of `WORDS`: texts with ``{feature}``, ``{value}`` or ``{name}`` in them.
    thresholds : mapping
        Replaces entries of `THRESHOLDS`. A feature is ``low`` in a segment whose customers stand
        above at most this share of all customers on average (see ``standing`` of
        `segmentation.profiling.profiles.profile`), ``very_low`` accordingly, high and very high as
        their mirror image. A category names a segment from the share ``dominant`` on.
    labels : mapping of column to str
        What a column is called; else its name with spaces for underscores.
    phrases : mapping of column to mapping of level to str
        What a level of one column is called: ``{"recency": {"high": "long not seen"}}``.
    names : mapping of segment id to str
        Names given by hand; the rest are made.

    Raises
    ------
    ConfigError
        A key is unknown or a value cannot be used.
    """

    words: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    phrases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _mapping("naming.labels", self.labels, str, "{annual_income: income}")
        _mapping("naming.phrases", self.phrases, str, "{recency: {high: long not seen}}", Mapping)
        for column, phrases in self.phrases.items():
            _mapping(f"naming.phrases.{column}", phrases, str, "{high: long not seen}")
        _mapping("naming.names", self.names, int, "{0: Regulars}")
        _known("naming.words", self.words, WORDS)
        _known("naming.thresholds", self.thresholds, THRESHOLDS)
        for column, phrases in self.phrases.items():
            _known(f"naming.phrases.{column}", phrases, LEVELS)
        for key, default in WORDS.items():
            for part in ("{feature}", "{value}", "{name}"):
                # Without its feature a word would be the same for all of them.
                if part in default and part != "{value}" and part not in self.word(key):
                    raise ConfigError(f"naming.words.{key}={self.word(key)!r} needs {part} in it.")
        low, very_low = self.threshold("low"), self.threshold("very_low")
        if not 0 <= very_low <= low < 0.5:
            raise ConfigError(
                f"naming.thresholds.low={low}, very_low={very_low}: shares of the customers are "
                "wanted, 0 <= very_low <= low < 0.5."
            )
        if not 0.5 < self.threshold("dominant") <= 1:
            raise ConfigError(
                f"naming.thresholds.dominant={self.threshold('dominant')}: a share above 0.5 and "
                "at most 1 is wanted."
            )
        given = list(self.names.values())
        for segment, name in self.names.items():
            if not name.strip() or not name.isprintable() or len(name) > LONGEST:
                raise ConfigError(
                    f"naming.names: the name of segment {segment} must be one line of 1 to "
                    f"{LONGEST} letters."
                )
            if given.count(name) > 1:
                raise ConfigError(f"naming.names: two segments are called {name!r}.")

    def word(self, key: str) -> str:
        """The text for one of `WORDS`."""
        return self.words.get(key, WORDS[key])

    def threshold(self, key: str) -> float:
        """The number for one of `THRESHOLDS`."""
        return float(self.thresholds.get(key, THRESHOLDS[key]))

    def level(self, standing: float) -> str:
        """The level of a standing in 0..1."""
        low, very_low = self.threshold("low"), self.threshold("very_low")
        for limit, level in ((very_low, "very_low"), (low, "low")):
            if standing <= limit:
                return level
            if standing >= 1 - limit:
                return level.replace("low", "high")
        return "average"

    def say(self, column: str, level: str, value: str = "") -> str:
        """A column at a level (or ``category``, ``mixed``) in words."""
        label = self.labels.get(column, column.replace("_", " "))
        text = self.phrases.get(column, {}).get(level) or self.word(level)
        return text.replace("{feature}", label).replace("{value}", value)


def _mapping(where: str, given: Any, key: type, example: str, value: type = str) -> None:
    right = isinstance(given, Mapping) and all(
        isinstance(k, key) and isinstance(v, value) for k, v in given.items()
    )
    if not right:
        raise ConfigError(f"{where}={given}: write it as {example}, for example.")


def _known(where: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    for key in given:
        if key not in allowed:
            raise ConfigError(f"there is no {where}.{key}. Allowed: {', '.join(allowed)}.")


@dataclass(frozen=True)
class _Fact:
    """One thing that is true of a segment; `plain` when it is nothing special."""

    column: str
    level: str
    value: str
    text: str
    plain: bool
    strength: float
    position: int
    median: float

    @property
    def key(self) -> tuple[str, str, str]:
        return self.column, self.level, self.value


def name_segments(
    table: pd.DataFrame, columns: Sequence[str], naming: Naming | None = None
) -> list[str]:
    """A distinct, deterministic name for each segment from the columns it was clustered on.

    At most two features, those it stands out in most: "high income, low spending score". Where
    that is true of another segment too, the strongest pair of features that is true of this one
    alone; where there is none, the median of the strongest feature is added. "average" is said
    only of a segment that has nothing else to say, or to tell it from another.

    Parameters
    ----------
    table : DataFrame
        From `segmentation.profiling.profiles.profile`.
    columns : sequence of str
        The clustered columns.
    naming : Naming, optional

    Raises
    ------
    ConfigError
        A name is given to a segment there is not.
    """
    naming = naming or Naming()
    facts = _facts(table, list(columns), naming)
    unknown = sorted(set(naming.names) - set(range(len(facts))))
    if unknown:
        raise ConfigError(
            f"naming.names names segment {unknown[0]}, but this run found "
            f"{'segments 0 to ' + str(len(facts) - 1) if len(facts) > 1 else 'one segment, 0'}. "
            "Take the name out, or fix the number of segments with choice=fixed choice.k=…."
        )
    names = dict(naming.names)
    if len(facts) == 1:
        return [names.get(0, naming.word("everybody"))]
    told = [{fact.key for fact in own} for own in facts]
    for segment, own in enumerate(facts):
        if segment in names:
            continue
        others = [*told[:segment], *told[segment + 1 :]]
        for pair in _pairs(own):
            text, keys = _text(pair, naming), {fact.key for fact in pair}
            if text not in names.values() and not any(keys <= other for other in others):
                names[segment] = text
                break
    left = {s: own for s, own in enumerate(facts) if s not in names}
    base = {segment: _text(next(iter(_pairs(own))), naming) for segment, own in left.items()}
    for segment, own in left.items():
        name = base[segment]
        if [*base.values(), *names.values()].count(name) > 1 or name in names.values():
            name = _around(name, own, naming)
        names[segment] = _numbered(name, set(names.values()))
    return [names[segment] for segment in range(len(facts))]


def _pairs(own: list[_Fact]) -> list[tuple[_Fact, ...]]:
    """What may be said of a segment, best first; `own` comes strongest first."""
    telling = [fact for fact in own if not fact.plain][:2]
    first = tuple(telling or own[:2])
    tried = list(combinations(range(min(len(own), TRIED)), 2))
    tried.sort(key=lambda pair: (sum(pair), pair))
    return [first, *((own[a], own[b]) for a, b in tried)]


def _text(pair: Iterable[_Fact], naming: Naming) -> str:
    ordered = sorted(pair, key=lambda fact: fact.position)
    return naming.word("separator").join(fact.text for fact in ordered)


def _around(name: str, own: list[_Fact], naming: Naming) -> str:
    numeric = [fact for fact in own if fact.level in LEVELS]
    if not numeric:
        return name
    value = in_units(numeric[0].median)
    return naming.word("around").replace("{name}", name).replace("{value}", value)


def _numbered(name: str, taken: set[str]) -> str:
    number, text = 1, name
    while text in taken:
        number += 1
        text = f"{name} ({number})"
    return text


def _facts(table: pd.DataFrame, columns: list[str], naming: Naming) -> list[list[_Fact]]:
    """What is true of each segment, strongest first."""
    place = {column: position for position, column in enumerate(columns)}
    clustered = table[table["feature"].isin(columns)]
    facts: list[list[_Fact]] = [[] for _ in range(int(clustered["segment"].max()) + 1)]
    for (segment, feature), lines in lines_by(clustered, "segment", "feature").items():
        facts[segment].append(_fact(feature, lines, place[feature], naming))
    for own in facts:
        own.sort(key=lambda fact: (fact.plain, -fact.strength, fact.position))
    return facts


def _fact(column: str, lines: list[Line], position: int, naming: Naming) -> _Fact:
    common: dict[str, Any] = {"column": column, "position": position}
    if not isinstance(lines[0]["category"], str):
        # Rounded: sums over customers in another order differ in their last bits.
        standing = round(lines[0]["standing"], 6)
        level = naming.level(standing)
        return _Fact(
            **common,
            level=level,
            value="",
            text=naming.say(column, level),
            plain=level == "average",
            strength=abs(standing - 0.5),
            median=lines[0]["median"],
        )
    top = max(lines, key=lambda line: line["share"])
    share, category = round(top["share"], 6), top["category"]
    unusual = round(share - top["everybody"], 6)
    dominant = (
        share >= naming.threshold("dominant") and top["z"] >= 0.5 and category != OTHER_VALUES
    )
    level, value = ("category", category) if dominant else ("mixed", "")
    return _Fact(
        **common,
        level=level,
        value=value,
        text=naming.say(column, level, value),
        plain=not dominant,
        strength=unusual if dominant else 0.0,
        median=float("nan"),
    )
