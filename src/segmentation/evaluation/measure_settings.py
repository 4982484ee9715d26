"""The constants of the quality measures, and what each was measured on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SilhouetteSettings:
    """Silhouettes from pairwise distances."""

    rows: int = 30_000
    sample: int = 10_000
    """Above `rows`, a seeded sample is used: the cost grows with the square of the rows."""
    fewest: int = 50
    """A cluster with fewer rows in the sample gets more, up to this many or all of its rows.
    Not measured separately."""
    chunk: int = 512
    """Rows of the distance matrix held at a time: 512 x 10,000 float32 are 20 MB."""
    double_precision_rows: int = 2_000
    """Above this, distances are computed in single precision: exact to 1e-6 in the mean and three
    times as fast."""


@dataclass(frozen=True)
class StabilitySettings:
    """Cluster-wise stability by bootstrap."""

    rows: int = 3_000
    """Maximum number of rows that are resampled. Refitting 3,000 rows 100 times takes two or three
    seconds; fewer rows understate stability and never overstate it."""
    random_starts: int = 2
    """Starts of a refit in addition to the centres under test: a refit that started only there
    would hardly ever leave them. Not measured separately."""
    dissolved: float = 0.5
    pattern: float = 0.6
    stable: float = 0.75
    very_stable: float = 0.85
    """Hennig's (2007) thresholds for the mean Jaccard similarity; below 0.6, no pattern."""
    interval: float = 1.645
    """Standard errors between the mean and the ends of its 90 % interval."""


@dataclass(frozen=True)
class SamplingSettings:
    """Row samples that are cached for the next call."""

    many_rows: int = 100_000
    kept: int = 20_000
    """From `many_rows` on, the last sample is cached, up to `kept` rows: a dozen parts of one
    result sample the same customers, and each draw reads all of them. Not measured separately."""


SILHOUETTES = SilhouetteSettings()
STABILITY = StabilitySettings()
SAMPLING = SamplingSettings()
