"""Deterministic names for segments, made from the features they stand out in."""

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
#: English; ``conf/naming/`` has these words and translations.
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
#: See `Naming.thresholds`.
THRESHOLDS: Mapping[str, float] = {"low": 0.3, "very_low": 0.1, "dominant": 0.75}
LONGEST = 100
#: Number of strongest features of a segment that are tried in pairs.
TRIED = 12


@dataclass(frozen=True)
class Naming:
    """How segments are named.

    Attributes
    ----------
    words : mapping
        Replaces entries of `WORDS`. The texts contain ``{feature}``, ``{value}`` or ``{name}``.
    thresholds : mapping
        Replaces entries of `THRESHOLDS`. A feature is ``low`` in a segment if its mean standing
        (see `segmentation.profiling.profiles.profile`) is at most ``low``, and likewise for
        ``very_low``; high and very high mirror them. A category can name a segment if its share is
        at least ``dominant``.
    labels : mapping of column to str
        Label of a column; by default its name with spaces instead of underscores.
    phrases : mapping of column to mapping of level to str
        Text for a level of one column: ``{"recency": {"high": "long not seen"}}``.
    names : mapping of segment id to str
        Names set by hand; the others are generated.

    Raises
    ------
    ConfigError
        If a key is unknown or a value is not allowed.
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
                # Without {feature}, the text would be the same for every feature.
                if part in default and part != "{value}" and part not in self.word(key):
                    raise ConfigError(f"naming.words.{key}={self.word(key)!r} must contain {part}.")
        low, very_low = self.threshold("low"), self.threshold("very_low")
        if not 0 <= very_low <= low < 0.5:
            raise ConfigError(
                f"naming.thresholds.low={low}, very_low={very_low}: both must be shares of the "
                "customers with 0 <= very_low <= low < 0.5."
            )
        if not 0.5 < self.threshold("dominant") <= 1:
            raise ConfigError(
                f"naming.thresholds.dominant={self.threshold('dominant')}: must be a share above "
                "0.5 and at most 1."
            )
        given = list(self.names.values())
        for segment, name in self.names.items():
            if not name.strip() or not name.isprintable() or len(name) > LONGEST:
                raise ConfigError(
                    f"naming.names: the name of segment {segment} must be one line of 1 to "
                    f"{LONGEST} characters."
                )
            if given.count(name) > 1:
                raise ConfigError(f"naming.names: two segments are called {name!r}.")

    def word(self, key: str) -> str:
        """Return the text for a key of `WORDS`."""
        return self.words.get(key, WORDS[key])

    def threshold(self, key: str) -> float:
        """Return the number for a key of `THRESHOLDS`."""
        return float(self.thresholds.get(key, THRESHOLDS[key]))

    def level(self, standing: float) -> str:
        """Return the level of a standing between 0 and 1."""
        low, very_low = self.threshold("low"), self.threshold("very_low")
        for limit, level in ((very_low, "very_low"), (low, "low")):
            if standing <= limit:
                return level
            if standing >= 1 - limit:
                return level.replace("low", "high")
        return "average"

    def say(self, column: str, level: str, value: str = "") -> str:
        """Return the text for a column at a level, ``category`` or ``mixed``."""
        label = self.labels.get(column, column.replace("_", " "))
        text = self.phrases.get(column, {}).get(level) or self.word(level)
        return text.replace("{feature}", label).replace("{value}", value)


def _mapping(where: str, given: Any, key: type, example: str, value: type = str) -> None:
    right = isinstance(given, Mapping) and all(
        isinstance(k, key) and isinstance(v, value) for k, v in given.items()
    )
    if not right:
        raise ConfigError(f"{where}={given}: write it like {example}.")


def _known(where: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    for key in given:
        if key not in allowed:
            raise ConfigError(f"there is no {where}.{key}. Allowed: {', '.join(allowed)}.")


@dataclass(frozen=True)
class _Fact:
    """One statement that is true of a segment; `plain` if it is nothing special."""

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
    """Name each segment by the clustered columns: distinct and deterministic.

    A name mentions at most the two features that stand out most: "high income, low spending
    score". If that also describes another segment, the strongest pair of features that describes
    only this one is used; if there is no such pair, the median of the strongest feature is added.
    "average" appears only if the segment has no other trait, or to tell it from another segment.

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
        If `naming.names` names a segment that does not exist.
    """
    naming = naming or Naming()
    facts = _facts(table, list(columns), naming)
    unknown = sorted(set(naming.names) - set(range(len(facts))))
    if unknown:
        raise ConfigError(
            f"naming.names names segment {unknown[0]}, but this run found "
            f"{'segments 0 to ' + str(len(facts) - 1) if len(facts) > 1 else 'one segment, 0'}. "
            "Remove the name, or fix the number of segments with choice=fixed choice.k=…."
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
    """Return candidate pairs of facts, best first; `own` is ordered strongest first."""
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
    """Return the facts of each segment, strongest first."""
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
        # Rounded because sums over customers in another order differ in their last bits.
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
