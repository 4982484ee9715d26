"""The gates a challenger must pass before it may replace the champion.

A gate is a function and a line in `GATES`. The line also defines its key in the config.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PASSED, FAILED, OFF, NOTHING = "passed", "failed", "switched off", "nothing to compare"
NO_CHAMPION = "there is no champion yet"
ALONE = "is a single segment, which has no silhouette"
UNMEASURED = (
    "fit on a file that also has the champion's columns, so that both models can be compared"
)


@dataclass(frozen=True)
class Findings:
    """What is known about a challenger; None if it could not be measured.

    Attributes
    ----------
    first : bool
        There is no champion yet.
    structure : bool or None
        Whether its data have cluster structure.
    structure_reason : str
        Explanation in plain words.
    one_column : str or None
        Explanation in plain words, if a single column determines the segments.
    stability : float or None
        Mean Jaccard of the weakest segment over bootstraps.
    smallest_share : float or None
        Share of the customers in the smallest segment.
    silhouette, champion_silhouette : float or None
        Mean silhouette of both models' segments, for the same customers in the same space.
    champion_single : bool
        Whether the champion has a single segment, so that there is no separation to compare.
    moved : float or None
        Share of the customers whose segment id changes.
    differs : bool
        False if champion and challenger give all customers the same segment and distance.
    incomparable : str or None
        Why the two models cannot label the same customers.
    data_problem : str or None
        Why the run's customers are no longer available.
    load_problem : str or None
        What went wrong when a fresh process loaded the model.
    metrics, tags : mapping of str
        Everything that the challenger's run has logged.
    """

    first: bool
    structure: bool | None = None
    structure_reason: str = ""
    one_column: str | None = None
    stability: float | None = None
    smallest_share: float | None = None
    silhouette: float | None = None
    champion_silhouette: float | None = None
    champion_single: bool = False
    moved: float | None = None
    differs: bool = True
    incomparable: str | None = None
    data_problem: str | None = None
    load_problem: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """The answer of one gate: what was found, what is required, and what to do if it failed.

    The gate's function sets `answer` and `found`; the rest comes from its line in `GATES`.
    """

    answer: str
    found: str
    asked: str = ""
    advice: str = ""
    gate: str = ""

    @property
    def failed(self) -> bool:
        """Whether this gate refuses."""
        return self.answer == FAILED


@dataclass(frozen=True)
class Gate:
    """A line of `GATES`.

    Attributes
    ----------
    check : callable
        Function of `Findings` and the limit that returns an `Answer`, usually from `passed`.
    key : str or None
        Its key below ``promotion`` in the config: a limit, or true. None or false switches the
        gate off; a gate without a key is always on.
    default : bool or float
        Default of the key.
    asked : str
        The requirement, with ``{limit}`` and ``{percent}`` for the limit.
    advice : str
        What to do when the gate refuses.
    """

    check: Callable[[Findings, Any], Answer]
    key: str | None = None
    default: bool | float = True
    asked: str = ""
    advice: str = ""

    def limit(self, rules: object) -> Any:
        """Return the limit in `rules`; None if this gate is switched off."""
        limit = True if self.key is None else getattr(rules, self.key)
        return None if limit is False else limit


def passed(ok: bool, found: str, advice: str = "") -> Answer:
    """Return a passed answer, or a failed one with advice, by default from the gate's line."""
    return Answer(PASSED if ok else FAILED, found, advice="" if ok else advice)


def data_known(found: Findings, _: bool) -> Answer:
    """The run's customers can be read again and have not changed."""
    read = "the customers were read again and have not changed"
    return passed(found.data_problem is None, found.data_problem or read)


def structure(found: Findings, _: bool) -> Answer:
    """The customers have cluster structure."""
    return passed(found.structure is True, found.structure_reason)


def several_columns(found: Findings, _: bool) -> Answer:
    """The segments are more than the values of one column, which would not need a model."""
    several = "no single column makes the segments"
    return passed(found.one_column is None, found.one_column or several)


def stability(found: Findings, least: float) -> Answer:
    """The weakest segment is stable when the customers are resampled."""
    return passed(
        found.stability is not None and found.stability >= least,
        f"the weakest segment comes back to {_percent(found.stability)}",
    )


def smallest_share(found: Findings, least: float) -> Answer:
    """No segment is too small to act on."""
    return passed(
        found.smallest_share is not None and found.smallest_share >= least,
        f"the smallest segment holds {_percent(found.smallest_share)} of the customers",
    )


def quality(found: Findings, loss: float) -> Answer:
    """The segments are separated about as well as the champion's."""
    if found.first:
        return Answer(NOTHING, NO_CHAMPION)
    if found.incomparable is not None:
        return passed(False, f"not measured: {found.incomparable}", UNMEASURED)
    ours, theirs = found.silhouette, found.champion_silhouette
    if found.champion_single:
        return Answer(NOTHING, f"the champion {ALONE}")
    if theirs is None:
        text = "not measured: the champion assigns all of these customers to one segment"
        return passed(False, text, UNMEASURED)
    if ours is None:
        return passed(False, f"the challenger {ALONE}")
    return passed(ours >= theirs - loss, f"silhouette {ours:.3f}, the champion's {theirs:.3f}")


def migration(found: Findings, most: float) -> Answer:
    """Not too many customers change segment."""
    if found.first:
        return Answer(NOTHING, NO_CHAMPION)
    if found.moved is None:
        return passed(False, f"not measured: {found.incomparable}", UNMEASURED)
    return passed(
        found.moved <= most, f"{_percent(found.moved)} of the customers change their segment"
    )


def differs(found: Findings, _: bool) -> Answer:
    """The model differs from the champion."""
    if found.first:
        return Answer(NOTHING, NO_CHAMPION)
    same = "every customer gets the same segment at the same distance as from the champion"
    return passed(found.differs, "it differs from the champion" if found.differs else same)


def loads(found: Findings, _: bool) -> Answer:
    """A fresh process without this project can use the model."""
    loaded = "a fresh process loaded it and got the expected segments"
    return passed(found.load_problem is None, found.load_problem or loaded)


#: All gates by name, in the order of the table. To add one, write a function and a line here.
GATES: dict[str, Gate] = {
    "data_known": Gate(
        data_known,
        key="data_known",
        advice="restore the file, or fit again on the current one",
    ),
    "structure": Gate(
        structure,
        key="structure",
        advice="try other features or another scaling; without cluster structure the segments are "
        "arbitrary",
    ),
    "several_columns": Gate(
        several_columns,
        key="several_columns",
        advice="give that column less weight (features.weights) or remove it from "
        "features.columns; the segments are still described by it",
    ),
    "stability": Gate(
        stability,
        key="min_stability",
        default=0.6,
        asked="at least {percent} when the customers are resampled",
        advice="try fewer segments, or features that separate the customers more clearly",
    ),
    "smallest_share": Gate(
        smallest_share,
        key="min_smallest_share",
        default=0.02,
        asked="at least {percent}",
        advice="try fewer segments, or log1p for columns with a few very large values",
    ),
    "quality": Gate(
        quality,
        key="max_quality_loss",
        default=0.02,
        asked="a silhouette at most {limit} below the champion's",
        advice="keep the champion, or find features or a k with a higher silhouette",
    ),
    "migration": Gate(
        migration,
        key="max_moved",
        default=0.3,
        asked="at most {percent}",
        advice="see the migration table for who would move; if the change is intended, raise "
        "promotion.max_moved",
    ),
    "differs": Gate(
        differs,
        advice="there is nothing to promote: the champion already has this segmentation",
    ),
    "loads": Gate(
        loads,
        key="loads",
        advice="compare the installed versions with the model's requirements.txt",
    ),
}


def rules_type() -> type:
    """Return the dataclass of ``promotion`` in the config: one key per gate, with its default."""
    return _rules_type(tuple(GATES.values()))


@functools.lru_cache(maxsize=8)
def _rules_type(gates: tuple[Gate, ...]) -> type:
    # Hydra identifies a config by its class: the same gates must give the same class.
    keys = [
        (gate.key, bool if isinstance(gate.default, bool) else float | None, gate.default)
        for gate in gates
        if gate.key is not None
    ]
    made = make_dataclass("PromotionRules", keys)
    made.__module__ = __name__
    return made


#: By this name pickle finds the class again, see `segmentation.cli.schemas`.
PromotionRules = rules_type()


def rules(**limits: bool | float | None) -> Any:
    """Return rules for `check`: the defaults of all gates except for these keys.

    Examples
    --------
    >>> rules(max_moved=0.1).max_moved
    0.1
    """
    return rules_type()(**limits)


def check(found: Findings, rules: object) -> list[Answer]:
    """Check a challenger against all gates.

    Parameters
    ----------
    found : Findings
    rules : object
        Object with one attribute per key, from `rules` or the config.
    """
    return [_answer(name, gate, found, gate.limit(rules)) for name, gate in GATES.items()]


def _answer(name: str, gate: Gate, found: Findings, limit: Any) -> Answer:
    if limit is None:
        return Answer(OFF, "", gate=name)
    answer = gate.check(found, limit)
    return replace(
        answer,
        gate=name,
        asked=gate.asked.format(limit=f"{limit:g}", percent=_percent(limit)),
        advice=(answer.advice or gate.advice) if answer.failed else "",
    )


def table(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return one row per gate: ``gate``, ``answer``, ``found``, ``asked``, ``advice``."""
    # Imported lazily: `segment promote --help` reads the gates too.
    import pandas as pd

    return pd.DataFrame(
        {
            "gate": [one.gate for one in answers],
            "answer": [one.answer for one in answers],
            "found": [one.found for one in answers],
            "asked": [one.asked for one in answers],
            "advice": [one.advice for one in answers],
        }
    )


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.3g} %"
