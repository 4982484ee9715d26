"""Lloyd's algorithm by passes over rows, each pass serving every start that still gains."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from segmentation.clustering.assignment import Floats, Key, Totals
from segmentation.clustering.search_settings import PASSES


class Pass(Protocol):
    """A pass over all rows: `segmentation.clustering.assignment.totals`, here or on executors."""

    def __call__(self, centers: Mapping[Key, Floats]) -> dict[Key, Totals]:
        """Totals for each set of centres."""
        ...


@dataclass(frozen=True)
class Settled:
    """Where the passes left one start.

    Attributes
    ----------
    centers : ndarray of shape (k, d)
    totals : Totals
        Of all rows, about exactly these centres.
    gain : float
        Share of the WCSS that the last pass won over the one before.
    passes : int
    """

    centers: Floats
    totals: Totals
    gain: float
    passes: int

    def measured(self, totals: Totals) -> Settled:
        """The same centres with what one more pass added up."""
        return replace(self, totals=totals, passes=self.passes + 1)

    @property
    def wcss(self) -> float:
        """Within-cluster sum of squares about the centres."""
        return self.totals.wcss


class Rivalry(Protocol[Key]):
    """Decides which starts for one k stop early: most fall behind the best before they settle."""

    def enough(self, start: Key, wcss: float) -> float:
        """Gain of a step (share of the WCSS) below which this start cannot come near the best."""
        ...

    def hopeless(self, going: Mapping[Key, Settled], number: int) -> Collection[Key]:
        """From where starts that go on stand after pass `number`: those to give up."""
        ...


def settle(
    run: Pass,
    starts: Mapping[Key, Floats],
    *,
    tolerance: float = PASSES.tolerance,
    most: int = PASSES.most,
    rivalry: Rivalry[Key] | None = None,
) -> dict[Key, Settled]:
    """Move each set of centres to the means of its rows until that wins next to nothing.

    Two passes at least: the first moves the centres, the second measures what that won. Those that
    would still gain more than the tolerance go on, so that an easy k costs two passes however hard
    another is.

    Parameters
    ----------
    run : Pass
    starts : mapping to ndarrays of shape (k, d)
    tolerance : float
        See `segmentation.clustering.search_settings.PassSettings`.
    most : int
        Passes after which every start is done; at least 2.
    rivalry : Rivalry, optional
        Which starts stop before they settle, and which are given up.

    Returns
    -------
    dict
        The keys of `starts` without those given up.
    """
    done: dict[Key, Settled] = {}
    going = dict(starts)
    before: dict[Key, Settled] = {}
    for number in range(1, most + 1):
        found = run(going)
        moved: dict[Key, Floats] = {}
        for key, now in found.items():
            centers, old = going[key], before.get(key)
            gain = math.inf if old is None else (old.wcss - now.wcss) / (now.wcss or 1.0)
            if old is not None and not now.weights.all():
                # A centre lost its last row: the step before had rows for all of them.
                done[key] = old
                continue
            before[key] = Settled(centers, now, gain, number)
            # A long stride may overshoot: only what is below the pass before counts as settled.
            enough = rivalry.enough(key, now.wcss) if rivalry and number > 2 else 0.0
            settled = gain >= 0 and now.step_gain(centers) <= max(tolerance, enough)
            if old is not None and (settled or number == most):
                done[key] = before[key] if gain >= 0 else old
                continue
            stride = 1.0 if number % 2 else PASSES.stride
            moved[key] = centers + stride * (now.means(centers) - centers)
        if rivalry is not None:
            for key in rivalry.hopeless({key: before[key] for key in moved}, number):
                del moved[key]
        going = moved
        if not going:
            break
    return done
