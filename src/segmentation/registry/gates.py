"""What a challenger must show before it may replace the champion: one function a gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from segmentation.config import PromotionConfig

PASSED, FAILED, OFF, NOTHING = "passed", "failed", "switched off", "nothing to compare"
NO_CHAMPION = "there is no champion yet"
ALONE = "is one single segment, which has no silhouette"
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
    one_column : str or None
        In plain words, when a single column makes the segments.
    stability : float or None
        Mean Jaccard of the weakest segment over bootstraps.
    smallest_share : float or None
        Share of the customers in the smallest segment.
    silhouette, champion_silhouette : float or None
        Of both models' segments, for the same customers in the same space.
    champion_single : bool
        The champion has one segment, so there is no separation to be worse than.
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


@dataclass(frozen=True)
class Answer:
    """The answer of one gate: what was found, what is asked, and what to do when it failed."""

    answer: str
    found: str
    asked: str
    advice: str = ""
    gate: str = ""

    @property
    def failed(self) -> bool:
        """Whether this gate refuses."""
        return self.answer == FAILED


def data_known(found: Findings, _: bool) -> Answer:
    """The run's customers can be read again, and they are the ones it was fitted on."""
    return _answer(
        found.data_problem is None,
        found.data_problem or "the customers were read again and are those of the run",
        "",
        "put the file back where it was, or fit again on the file as it is now",
    )


def structure(found: Findings, _: bool) -> Answer:
    """The customers fall into groups at all."""
    return _answer(
        found.structure is True,
        found.structure_reason,
        "",
        "try other features or another scaling; without groups the segments would be arbitrary",
    )


def several_columns(found: Findings, _: bool) -> Answer:
    """The segments are more than the values of one column, which nobody needs a model for."""
    return _answer(
        found.one_column is None,
        found.one_column or "no single column makes the segments",
        "",
        "give that column less weight (features.weights) or leave it out of features.columns: "
        "is described all the same",
    )


def stability(found: Findings, least: float) -> Answer:
    """The weakest segment comes back when the customers are drawn again."""
    return _answer(
        found.stability is not None and found.stability >= least,
        f"the weakest segment comes back to {_percent(found.stability)}",
        f"at least {_percent(least)} when the customers are drawn again",
        "try fewer segments, or features that part the customers more clearly",
    )


def smallest_share(found: Findings, least: float) -> Answer:
    """No segment is too small to act on."""
    return _answer(
        found.smallest_share is not None and found.smallest_share >= least,
        f"the smallest segment holds {_percent(found.smallest_share)} of the customers",
        f"at least {_percent(least)}",
        "try fewer segments, or log1p for columns with a few very large values",
    )


def quality(found: Findings, loss: float) -> Answer:
    """The segments are not worse separated than the champion's."""
    asked = f"a silhouette at most {loss:g} below the champion's"
    advice = "keep the champion, or find features or a k with a higher silhouette"
    if found.first:
        return Answer(NOTHING, NO_CHAMPION, asked)
    if found.incomparable is not None:
        return _answer(False, f"not measured: {found.incomparable}", asked, UNMEASURED)
    ours, theirs = found.silhouette, found.champion_silhouette
    if found.champion_single:
        return Answer(NOTHING, f"the champion {ALONE}", asked)
    if theirs is None:
        text = "not measured: the champion puts all of these customers into one segment"
        return _answer(False, text, asked, UNMEASURED)
    if ours is None:
        return _answer(False, f"the challenger {ALONE}", asked, advice)
    text = f"silhouette {ours:.3f}, the champion's {theirs:.3f}"
    return _answer(ours >= theirs - loss, text, asked, advice)


def migration(found: Findings, most: float) -> Answer:
    """Not too many customers change their segment."""
    asked = f"at most {_percent(most)}"
    if found.first:
        return Answer(NOTHING, NO_CHAMPION, asked)
    if found.moved is None:
        return _answer(False, f"not measured: {found.incomparable}", asked, UNMEASURED)
    return _answer(
        found.moved <= most,
        f"{_percent(found.moved)} of the customers change their segment",
        asked,
        "see in the migration table who would move; if the change is wanted, raise "
        "promotion.max_moved",
    )


def differs(found: Findings, _: bool) -> Answer:
    """It is another model than the champion."""
    if found.first:
        return Answer(NOTHING, NO_CHAMPION, "")
    if found.differs:
        return Answer(PASSED, "it is another model", "")
    return _answer(
        False,
        "every customer gets the same segment at the same distance as from the champion",
        "",
        "there is nothing to promote: the champion is this segmentation already",
    )


def loads(found: Findings, _: bool) -> Answer:
    """A fresh process without this project can use the model."""
    return _answer(
        found.load_problem is None,
        found.load_problem or "a fresh process loaded it and got the expected segments",
        "",
        "compare the installed versions with the model's requirements.txt",
    )


#: Every gate, in the order of the table, with its key in the config: None or False there switches
#: it off; a gate without a key cannot be. Adding one is a function, a key and a line.
GATES: tuple[tuple[Callable[[Findings, Any], Answer], str | None], ...] = (
    (data_known, "data_known"),
    (structure, "structure"),
    (several_columns, "several_columns"),
    (stability, "min_stability"),
    (smallest_share, "min_smallest_share"),
    (quality, "max_quality_loss"),
    (migration, "max_moved"),
    (differs, None),
    (loads, "loads"),
)


def check(found: Findings, asked: PromotionConfig) -> list[Answer]:
    """The answers of all gates."""
    answers = []
    for gate, key in GATES:
        wanted = True if key is None else getattr(asked, key)
        off = wanted is None or wanted is False
        answer = Answer(OFF, "", "") if off else gate(found, wanted)
        answers.append(replace(answer, gate=gate.__name__))
    return answers


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


def _answer(passed: bool, found: str, asked: str, advice: str) -> Answer:
    return Answer(PASSED if passed else FAILED, found, asked, "" if passed else advice)


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{100 * share:.3g} %"
