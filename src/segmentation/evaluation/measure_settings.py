"""The constants of the measures, and what each was measured on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SilhouetteSettings:
    """Silhouettes from pairwise distances."""

    rows: int = 30_000
    sample: int = 10_000
    """Above `rows` a seeded sample is measured: the cost grows with the square of the rows."""
    fewest: int = 50
    """A cluster with fewer rows in the sample gets more of its rows, up to this many or all it has.
    Not measured alone."""
    chunk: int = 512
    """Rows of the distance matrix held at a time: 512 x 10,000 float32 are 20 MB."""
    double_precision_rows: int = 2_000
    """Beyond, distances are computed in single precision: exact to 1e-6 in the mean, three times as
    fast."""


@dataclass(frozen=True)
class StabilitySettings:
    """Cluster-wise stability by bootstrap."""

    rows: int = 3_000
    """Rows that are resampled at most. To refit 3,000 rows 100 times takes two or three seconds;
    fewer rows understate stability, never the other way round."""
    random_starts: int = 2
    """Starts of a refit besides the centres under test: started only there, it would hardly ever
    leave them. Not measured alone."""
    dissolved: float = 0.5
    stable: float = 0.75
    very_stable: float = 0.85
    """Hennig's (2007) borders of the mean Jaccard similarity."""


@dataclass(frozen=True)
class SamplingSettings:
    """Draws of rows that are kept for the next that asks."""

    many_rows: int = 100_000
    kept: int = 20_000
    """From `many_rows` on the last draw is kept, up to `kept` rows of it: a dozen parts of one
    result use samples of the same customers, and each draw reads all of them. Not measured
    alone."""


SILHOUETTES = SilhouetteSettings()
STABILITY = StabilitySettings()
SAMPLING = SamplingSettings()
