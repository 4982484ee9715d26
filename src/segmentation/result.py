"""The result of one configuration, as one frozen object."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from segmentation.clustering.base import Clustering
from segmentation.data.customers import Customers
from segmentation.evaluation.stability import Stability
from segmentation.features.feature_set import FeatureSet
from segmentation.profiling.decision_rules import Rules
from segmentation.profiling.importance import Importance
from segmentation.profiling.segments import Segment
from segmentation.selection.choice import Choice


@dataclass(frozen=True, repr=False)
class SegmentationResult:
    """Everything computed for one configuration. Nothing in it depends on MLflow or Hydra.

    Attributes
    ----------
    customers : Customers
        The validated input. For a table in Spark it is a sample, and everything below is computed
        on that sample except the centres, `curve` and the sizes of the `segments`.
    features : FeatureSet
    scaling, engine, effort : str
    seed : int
    Z : ndarray of shape (n, d)
        Encoded, scaled and weighted customers: the space in which distances are measured. Single
        precision if that saves much memory; see `segmentation.features.encoding.fit_transform`.
    encoded_names : tuple of str
        Names of the d columns of `Z`.
    clusterings : mapping of k to `Clustering`
        Every fitted k. Cluster indices are not segment ids, not even for the chosen k.
    k_min : int
        Smallest k that could be chosen, apart from "no structure".
    curve : DataFrame
        Indexed by k, one column per metric of `segmentation.evaluation.metrics.METRICS`.
    choice : Choice
        The chosen k and the confidence in it.
    labels : ndarray of shape (n,)
        Segment id of each customer. Ids are ordered by size: 0 is the largest segment.
    distances : ndarray of shape (n,)
        Euclidean distance from each customer to the centre of its own segment, in the space and
        precision of `Z`.
    segments : tuple of Segment
    profile : DataFrame
        See `segmentation.profiling.profiles.profile`.
    silhouettes : DataFrame
        Columns ``row`` (position of the customer), ``segment``, ``silhouette``. Empty for k=1; a
        sample of the customers on large data.
    stability : Stability or None
        Per-segment bootstrap; only computed if structure was tested and found.
    rules : Rules or None
        How to recognise each segment; None for k=1.
    importance : Importance or None
        Which features matter; None if a custom scaling mixes columns.
    typical : DataFrame
        See `segmentation.profiling.exemplars.typical_customers`.
    pipeline : Pipeline
        Fitted scikit-learn pipeline from the customers' columns to the segment id.
    """

    customers: Customers
    features: FeatureSet
    scaling: str
    engine: str
    effort: str
    seed: int
    Z: NDArray[np.float64]
    encoded_names: tuple[str, ...]
    clusterings: Mapping[int, Clustering]
    k_min: int
    curve: pd.DataFrame
    choice: Choice
    labels: NDArray[np.int32]
    distances: NDArray[np.float64]
    segments: tuple[Segment, ...]
    profile: pd.DataFrame
    silhouettes: pd.DataFrame
    stability: Stability | None
    rules: Rules | None
    importance: Importance | None
    typical: pd.DataFrame
    pipeline: Pipeline

    def __repr__(self) -> str:
        lines = [f"SegmentationResult: {self.verdict}"]
        lines += [f"  {s.id}  {s.size:>8,}  {s.share:6.1%}  {s.name}" for s in self.segments]
        return "\n".join(lines)

    @property
    def k(self) -> int:
        """Number of segments."""
        return self.choice.k

    @property
    def verdict(self) -> str:
        """The number of segments, the confidence and the weakest segment in one sentence."""
        if self.stability is None:
            return self.choice.verdict
        weakest = self.stability.weakest
        return (
            f"{self.choice.verdict}; weakest segment {weakest}: Jaccard "
            f"{self.stability.jaccard[weakest]:.2f}, {self.stability.status[weakest]}"
        )

    @property
    def structure(self) -> bool | None:
        """Whether the data have cluster structure; None if the rule did not test for it."""
        return self.choice.structure

    @property
    def confidence(self) -> str | None:
        """``agreed`` or ``contested``; None without structure or without the test."""
        return self.choice.confidence


def __getattr__(name: str) -> object:
    # `segment` used to be in this module; this alias is removed in the next release. The import is
    # inside the function because layers above this module must not be imported here.
    if name != "segment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        "segmentation.result.segment has moved: write `from segmentation import segment`.",
        DeprecationWarning,
        stacklevel=2,
    )
    import segmentation

    return segmentation.segment
