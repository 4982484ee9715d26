"""The constants of the choice of k, and what each was measured on.

"Recoverable" mixtures are those in which K-Means with the true k comes near the truth;
``benchmarks/quality_k.py`` measures them again, ``benchmarks/results.md`` has what came out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class TendencySettings:
    """The gate: is there any structure?"""

    min_customers: int = 10
    """Fewer cannot be told from noise by any of the tests."""
    dip_rows: int = 5_000
    silhouette_rows: int = 400
    """Customers that each test looks at, at most. Not measured alone."""
    alpha: float = 0.01
    """Stricter than the usual 0.05: the dip is tested for every k, and evenly spread data sit on
    the boundary of its null. On 280 sets without clusters it claimed structure on 2.1 % at 0.05, on
    0.7 % at 0.01; the silhouettes find what it then misses of 177 recoverable mixtures. Both tests
    together claimed structure on 3 of 210 fresh sets without clusters, on 256 of 256 mixtures."""
    adjacent_share: float = 0.05
    """Clusters are adjacent when one is second-nearest for this share of the other's points. Not
    measured alone."""
    min_cluster: int = 5
    """Below this size a cluster is a few outliers: heavy tails must not pass for a second mode."""
    min_separation: float = 1.0
    """Distance of the two means in pooled standard deviations, at least. Not measured alone."""
    max_imbalance: int = 3
    """The larger cluster is cut to this multiple of the smaller, or the dip sees one mode only."""
    null_draws: int = 19
    """Draws of each null: more than all of 19 is p <= 0.05 for one null."""


@dataclass(frozen=True)
class CriteriaSettings:
    """Criteria that look at a whole range of k."""

    rows: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType(
            {"icl": 5_000, "gap": 1_000, "prediction_strength": 2_000}
        ),
        hash=False,
    )
    """Customers that each criterion sees, at most: the cost of a fit grows with them, the answer
    does not change."""
    gap_draws: int = 20
    """Draws of the gap statistic's reference. Not measured alone."""
    splits: int = 10
    """Random half splits of the prediction strength. Not measured alone."""
    strong: float = 0.8
    """The bar of Tibshirani & Walther (2005), section 2."""
    variance_floor: float = 1e-4
    """Floor for the variance of a mixture component, as a share of the data's variance: without it
    a component can shrink on a few points and its likelihood grows without bound."""
    em_steps: int = 100
    """Enough to compare mixtures; the last digits of a likelihood are not needed."""
    trimmed: float = 0.03
    """Share of the most isolated customers that is left out of the mixtures, or ICL spends a
    component on them: on 159 recoverable mixtures k was right in 96.2 % instead of 90.6 %, most of
    it with heavy tails."""
    isolation_rank: int = 5
    """Isolation is the distance to this neighbour: small inside any larger group."""


@dataclass(frozen=True)
class EvidenceSettings:
    """From the criteria to k and the confidence in it."""

    agreement: int = 3
    """How many of the five criteria must name the chosen k. On 280 generated mixtures k was right
    in 99.1 % of 224 where three or more did (in all 216 where K-Means can recover the groups), and
    in 77 % of 56 where fewer did; a bar of four would leave out 53 sets of which 51 were right."""
    silhouette_weight: float = 0.5
    """Weight of the silhouette beside ICL. Set on 159 recoverable mixtures (99.4 % right; ICL alone
    96.2 %). On 256 fresh ones 97.3 %, ICL alone 95.7 %, the silhouette alone 90.6 %; any weight
    from 0.5 to 1.6 gave 97.3 to 97.7 %."""


TENDENCY = TendencySettings()
CRITERIA_SETTINGS = CriteriaSettings()
EVIDENCE = EvidenceSettings()
