"""What a challenger must show before it may replace the champion: one function a gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from segmentation.config import PromotionConfig

PASSED, FAILED, OFF, NOTHING = "passed", "failed", "switched off", "nothing to compare"
NO_CHAMPION = "there is no champion yet"
UNMEASURED = (
    "give both models the same customers: fit on a file that has the champion's columns too"
)


@dataclass(frozen=True)
class Findings:
    """What is known of a challenger; None where it could not be measured.

    Attributes
    ----------
    first : bool
        There is no champion yet.
    structure : bool or None
        Whether its data have cluster structure.
    structure_reason : str
        In plain words.
    stability : float or None
        Mean Jaccard of the weakest segment over bootstraps.
    smallest_share : float or None
        Share of the customers in the smallest segment.
    silhouette, champion_silhouette : float or None
        Of both models' segments, for the same customers in the same space.
    moved : float or None
        Share of the customers whose segment id changes.
    differs : bool
        False when champion and challenger give all customers the same segment and distance.
    incomparable : str or None
        Why the two models cannot be asked about the same customers.
    data_problem : str or None
        Why the run's customers are not known any more.
    load_problem : str or None
        What went wrong when a fresh process loaded the model.
    """

    first: bool
    structure: bool | None = None
    structure_reason: str = ""
    stability: float | None = None
    smallest_share: float | None = None
    silhouette: float | None = None
    champion_silhouette: float | None = None
    moved: float | None = None
    differs: bool = True
    incomparable: str | None = None
    data_problem: str | None = None
    load_problem: str | None = None


@dataclass(frozen=True)
class Answer:
    """The answer of one gate: what was found, what is asked, and what to do when it failed."""

    gate: str
    answer: str
    found: str
    asked: str
    advice: str = ""

    @property
    def failed(self) -> bool:
        """Whether this gate refuses."""
        return self.answer == FAILED


def data_known(found: Findings, asked: PromotionConfig) -> Answer:
    """The run's customers can be read again, and they are the ones it was fitted on."""
    return _answer(
        "data_known",
        asked.data_known,
        found.data_problem is None,
        found.data_problem or "the customers were read again and are those of the run",
        "",
        "put the file back where it was, or fit again on the file as it is now",
    )


def structure(found: Findings, asked: PromotionConfig) -> Answer:
    """The customers fall into groups at all."""
    return _answer(
        "structure",
        asked.structure,
        found.structure is True,
        found.structure_reason,
        "",
        "try other features or another scaling; without groups the segments would be arbitrary",
    )


def stability(found: Findings, asked: PromotionConfig) -> Answer:
    """The weakest segment comes back when the customers are drawn again."""
    least = asked.min_stability
    return _answer(
        "stability",
        least is not None,
        found.stability is not None and found.stability >= (least or 0),
        f"the weakest segment comes back to {_percent(found.stability)}",
        f"at least {_percent(least)} when the customers are drawn again",
        "try fewer segments, or features that part the customers more clearly",
    )


def smallest_share(found: Findings, asked: PromotionConfig) -> Answer:
    """No segment is too small to act on."""
    least = asked.min_smallest_share
    return _answer(
        "smallest_share",
        least is not None,
        found.smallest_share is not None and found.smallest_share >= (least or 0),
        f"the smallest segment holds {_percent(found.smallest_share)} of the customers",
        f"at least {_percent(least)}",
        "try fewer segments, or log1p for columns with a few very large values",
    )


def quality(found: Findings, asked: PromotionConfig) -> Answer:
    """The segments are not worse separated than the champion's."""
    loss = asked.max_quality_loss
    wanted = f"a silhouette at most {loss or 0:g} below the champion's"
    advice = "keep the champion, or find features or a k with a higher silhouette"
    if loss is not None and found.first:
        return Answer("quality", NOTHING, NO_CHAMPION, wanted)
    if found.incomparable is not None:
        return _answer("quality", loss is not None, False, _not(found), wanted, UNMEASURED)
    ours, theirs = found.silhouette, found.champion_silhouette
    if theirs is None:
        text = "the champion is one single segment, which has no silhouette"
        return Answer("quality", NOTHING if loss is not None else OFF, text, wanted)
    if ours is None:
        text = "the challenger is one single segment, which has no silhouette"
        return _answer("quality", loss is not None, False, text, wanted, advice)
    text = f"silhouette {ours:.3f}, the champion's {theirs:.3f}"
    return _answer("quality", loss is not None, ours >= theirs - (loss or 0), text, wanted, advice)


def migration(found: Findings, asked: PromotionConfig) -> Answer:
    """Not too many customers change their segment."""
    most = asked.max_moved
    wanted = f"at most {_percent(most)}" if most is not None else ""
    if most is not None and found.first:
        return Answer("migration", NOTHING, NO_CHAMPION, wanted)
    if found.moved is None:
        return _answer("migration", most is not None, False, _not(found), wanted, UNMEASURED)
    return _answer(
        "migration",
        most is not None,
        found.moved <= (most or 0),
        f"{_percent(found.moved)} of the customers change their segment",
        wanted,
        "see in the migration table who would move; if the change is wanted, raise "
        "promotion.max_moved",
    )


def differs(found: Findings, asked: PromotionConfig) -> Answer:
    """It is another model than the champion."""
    if found.first:
        return Answer("differs", NOTHING, NO_CHAMPION, "")
    return _answer(
        "differs",
        True,
        found.differs,
        "it is another model"
        if found.differs
        else "every customer gets the same segment at the same distance as from the champion",
        "",
        "there is nothing to promote: the champion is this segmentation already",
    )


def loads(found: Findings, asked: PromotionConfig) -> Answer:
    """A fresh process without this project can use the model."""
    return _answer(
        "loads",
        asked.loads,
        found.load_problem is None,
        found.load_problem or "a fresh process loaded it and got the expected segments",
        "",
        "compare the installed versions with the model's requirements.txt",
    )


#: Every gate, in the order of the table. Adding one is a function, a key of the config and a line.
GATES: tuple[Callable[[Findings, PromotionConfig], Answer], ...] = (
    data_known,
    structure,
    stability,
    smallest_share,
    quality,
    migration,
    differs,
    loads,
)


def check(found: Findings, asked: PromotionConfig) -> list[Answer]:
    """The answers of all gates."""
    return [gate(found, asked) for gate in GATES]


def table(answers: Sequence[Answer]) -> pd.DataFrame:
    """One row a gate: ``gate``, ``answer``, ``found``, ``asked``, ``advice``."""
    return pd.DataFrame(
        {
            "gate": [one.gate for one in answers],
            "answer": [one.answer for one in answers],
            "found": [one.found for one in answers],
            "asked": [one.asked for one in answers],
            "advice": [one.advice for one in answers],
        }
    )


def _answer(gate: str, on: bool, passed: bool, found: str, asked: str, advice: str) -> Answer:
    if not on:
        return Answer(gate, OFF, found, "")
    return Answer(gate, PASSED if passed else FAILED, found, asked, "" if passed else advice)


def _not(found: Findings) -> str:
    return f"not measured: {found.incomparable or NO_CHAMPION}"


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.3g} %"
