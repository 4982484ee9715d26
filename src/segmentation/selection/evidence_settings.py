"""The constants of the choice of k, and what each was measured on.

A mixture is "recoverable" if K-Means with the true k comes near the truth.
``benchmarks/quality_k.py`` repeats the measurements; ``benchmarks/results.md`` has the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class TendencySettings:
    """The gate: is there any structure?"""

    min_customers: int = 10
    """With fewer customers no test can tell clusters from noise."""
    dip_rows: int = 5_000
    silhouette_rows: int = 400
    """Maximum number of customers each test uses. Not measured separately."""
    alpha: float = 0.01
    """Stricter than the usual 0.05: the dip is tested for every k, and uniform data are on the
    boundary of its null hypothesis. On 280 sets without clusters it claimed structure for 2.1 % at
    0.05 and for 0.7 % at 0.01. Of 177 recoverable mixtures, the silhouettes find those that the
    stricter dip misses. Both tests together claimed structure for 3 of 210 fresh sets without
    clusters and for 256 of 256 mixtures."""
    adjacent_share: float = 0.05
    """Two clusters are adjacent if one is second-nearest for this share of the other's points. Not
    measured separately."""
    min_cluster: int = 5
    """A smaller cluster is a few outliers: heavy tails must not pass for a second mode."""
    min_separation: float = 1.0
    """Minimum distance of the two means in pooled standard deviations. Not measured separately."""
    max_imbalance: int = 3
    """The larger cluster is subsampled to at most this multiple of the smaller one; otherwise the
    dip sees only one mode."""
    null_draws: int = 19
    """Draws from each null model: exceeding all 19 is p <= 0.05 for one null."""


@dataclass(frozen=True)
class CriteriaSettings:
    """Criteria computed over a whole range of k."""

    rows: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType(
            {"icl": 5_000, "gap": 1_000, "prediction_strength": 2_000}
        ),
        hash=False,
    )
    """Maximum number of customers each criterion uses. More would raise the cost of a fit but not
    change the result."""
    gap_draws: int = 20
    """Draws of the gap statistic's reference. Not measured separately."""
    splits: int = 10
    """Random half splits of the prediction strength. Not measured separately."""
    strong: float = 0.8
    """The threshold of Tibshirani & Walther (2005), section 2."""
    variance_floor: float = 1e-4
    """Floor for the variance of a mixture component, as a share of the data's variance. Without it
    a component can collapse onto a few points and its likelihood grows without bound."""
    em_steps: int = 100
    """Enough to compare mixtures; the last digits of a likelihood do not matter."""
    trimmed: float = 0.03
    """Share of the most isolated customers left out of the mixtures; otherwise ICL spends a
    component on them. On 159 recoverable mixtures this raised the share with the right k from
    90.6 % to 96.2 %, mostly on heavy tails."""
    isolation_rank: int = 5
    """Isolation is the distance to the neighbour of this rank: small inside any larger group."""


@dataclass(frozen=True)
class GapSettings:
    """The standardised gap of the chosen k."""

    rows: int = 400
    """Maximum number of customers. The gap grows with the root of the rows, alike in all runs on
    the same customers."""
    draws: int = 100
    """With 100, its standard error is about 7 % of a large gap."""
    starts: int = 2
    """Starts of each fit of the null. Up to ten starts lower its mean log WCSS by a third of its
    standard deviation more, at five times the cost. On the mall file two of them take 2 % of the
    CPU of `segment`."""


@dataclass(frozen=True)
class EvidenceSettings:
    """How the criteria lead to k and to the confidence in it."""

    agreement: int = 3
    """How many of the five criteria must pick the chosen k. On 280 generated mixtures, k was right
    for 99.1 % of the 224 where three or more did (for all 216 where K-Means can recover the
    groups) and for 77 % of the 56 where fewer did. A threshold of four would exclude 53 sets; k
    was right for 51 of them."""
    silhouette_weight: float = 0.5
    """Weight of the silhouette relative to ICL. Tuned on 159 recoverable mixtures: 99.4 % right,
    with ICL alone 96.2 %. On 256 fresh mixtures: 97.3 % right, with ICL alone 95.7 %, with the
    silhouette alone 90.6 %. Any weight from 0.5 to 1.6 gave 97.3 to 97.7 %."""


TENDENCY = TendencySettings()
CRITERIA_SETTINGS = CriteriaSettings()
GAP = GapSettings()
EVIDENCE = EvidenceSettings()
