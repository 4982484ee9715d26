"""Lloyd's algorithm by passes over rows. Each pass serves all starts that still improve."""

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
        """Return the totals for each set of centres."""
        ...


@dataclass(frozen=True)
class Settled:
    """The result of the passes for one start.

    Attributes
    ----------
    centers : ndarray of shape (k, d)
    totals : Totals
        Totals of all rows for exactly these centres.
    gain : float
        Share of the WCSS that the last pass gained over the one before.
    passes : int
    """

    centers: Floats
    totals: Totals
    gain: float
    passes: int

    def measured(self, totals: Totals) -> Settled:
        """Return the same centres with the totals of one more pass."""
        return replace(self, totals=totals, passes=self.passes + 1)

    @property
    def wcss(self) -> float:
        """Within-cluster sum of squares about the centres."""
        return self.totals.wcss


class Rivalry(Protocol[Key]):
    """Decides which starts stop early: most fall behind the best of their k before they settle."""

    def enough(self, start: Key, wcss: float) -> float:
        """Return the gain (share of WCSS) below which this start cannot come near the best."""
        ...

    def hopeless(self, going: Mapping[Key, Settled], number: int) -> Collection[Key]:
        """Return the starts to give up after pass `number`."""
        ...


def settle(
    run: Pass,
    starts: Mapping[Key, Floats],
    *,
    tolerance: float = PASSES.tolerance,
    most: int = PASSES.most,
    rivalry: Rivalry[Key] | None = None,
) -> dict[Key, Settled]:
    """Move each set of centres to the means of its rows until that gains almost nothing.

    There are at least two passes: the first moves the centres and the second measures the gain.
    Only starts that would still gain more than the tolerance go on, so an easy k costs two passes
    no matter how hard another k is.

    Parameters
    ----------
    run : Pass
    starts : mapping to ndarrays of shape (k, d)
    tolerance : float
        See `segmentation.clustering.search_settings.PassSettings`.
    most : int
        Maximum number of passes; at least 2.
    rivalry : Rivalry, optional
        Decides which starts stop before they settle, and which are given up.

    Returns
    -------
    dict
        The keys of `starts`, except those given up.
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
                # A centre lost its last row; before this step all centres had rows.
                done[key] = old
                continue
            before[key] = Settled(centers, now, gain, number)
            # A long stride can overshoot: a start is settled only if it improved on the last pass.
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
