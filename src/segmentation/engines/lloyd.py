"""Lloyd's algorithm by passes over all rows, each pass serving every k that still gains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from segmentation.engines.passes import Floats, Key, Totals

# A pass that lowers the WCSS by less than this share of it ends the polishing: 5 millionths is far
# below what the choice of another local optimum costs, and below what a figure can show.
TOLERANCE = 5e-6
MOST_PASSES = 20


class Pass(Protocol):
    """A pass over all rows: `segmentation.engines.passes.totals`, here or on executors."""

    def __call__(self, centers: Mapping[Key, Floats], *, last: bool) -> dict[Key, Totals]:
        """Totals for each set of centres; `last` asks for full precision and distances."""
        ...


@dataclass(frozen=True)
class Settled:
    """Where the passes over all rows left one k.

    Attributes
    ----------
    centers : ndarray of shape (k, d)
    totals : Totals
        Of all rows, about exactly these centres.
    gain : float
        Share of the WCSS that the last move of the centres won.
    passes : int
    """

    centers: Floats
    totals: Totals
    gain: float
    passes: int


def settle(
    run: Pass,
    centers: Mapping[Key, Floats],
    *,
    tolerance: float = TOLERANCE,
    most: int = MOST_PASSES,
) -> dict[Key, Settled]:
    """Move each set of centres to the means of its rows until a pass gains next to nothing.

    Two passes at least: the first moves the centres, the second measures what that won. Those that
    gained more than the tolerance go on, so that an easy k costs two passes however hard another.

    Parameters
    ----------
    run : Pass
    centers : mapping to ndarrays of shape (k, d)
        Near their optimum already, from a sample.
    tolerance : float
        Relative gain of a pass below which a k is done.
    most : int
        Passes after which every k is done; at least 2.
    """
    done: dict[Key, Settled] = {}
    going = dict(centers)
    before: dict[Key, tuple[Floats, Totals]] = {}
    for number in range(1, most + 1):
        found = run(going, last=number > 1)
        for key, now in found.items():
            if key in before:
                old_centers, old = before[key]
                gain = (old.wcss - now.wcss) / (now.wcss or 1.0)
                if not now.weights.all():
                    # A centre that lost its last row: the step before had rows for all of them.
                    done[key] = Settled(old_centers, old, max(gain, 0.0), number)
                elif gain <= tolerance or number == most:
                    done[key] = Settled(going[key], now, max(gain, 0.0), number)
            before[key] = going[key], now
        going = {key: now.means(going[key]) for key, now in found.items() if key not in done}
        if not going:
            break
    return done
