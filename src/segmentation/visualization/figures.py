"""The figures of a run. To add one, write a function and a line in `FIGURES`.

The function takes plain data and returns a `matplotlib.figure.Figure`. The line holds its name,
its section in the report and its texts. Logging, the report and the gallery in the documentation
all read the line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pandas as pd
from pandas.api.types import is_numeric_dtype

from segmentation.data.customers import Customers
from segmentation.evaluation.sampling import sample_rows
from segmentation.features.feature_set import FeatureSet
from segmentation.visualization import clustergram, explanations, k_curves, maps, segment_cards
from segmentation.visualization.distributions import distributions

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from segmentation.result import SegmentationResult


@dataclass(frozen=True)
class Figure:
    """A figure of a run, with its texts.

    Attributes
    ----------
    name : str
        The figure is logged as ``figures/NAME.png``.
    draw : callable
        Draws the figure of a result; returns None if it does not apply.
    section : str
        Section of the report, a key of `segmentation.reporting.sections.SECTIONS`.
    title : str
    caption : str
        How to read the figure, in one or two sentences.
    alt : str
        Alternative text for readers who cannot see the figure.
    of_data : bool
        Whether the figure depends only on the customers, so the runs of a sweep share it.
    """

    name: str
    draw: Callable[[SegmentationResult], Drawing | None]
    section: str
    title: str
    caption: str
    alt: str
    of_data: bool = False


def _names(result: SegmentationResult) -> list[str]:
    return [segment.name for segment in result.segments]


def _shares(result: SegmentationResult) -> list[float]:
    return [segment.share for segment in result.segments]


def _distributions(result: SegmentationResult) -> Drawing | None:
    customers = result.customers
    return distributions({name: customers.column(name) for name in result.features.described})


def _pair_plot(result: SegmentationResult) -> Drawing | None:
    frame = result.customers.frame[list(result.features.columns)]
    codes = set(result.features.categorical)
    numeric = frame[[c for c in frame if is_numeric_dtype(frame[c]) and c not in codes]]
    if numeric.shape[1] > maps.PAIR_COLUMNS and result.k > 1:
        kept = list(_separation(result, list(numeric.columns)).index[: maps.PAIR_COLUMNS])
        # Only the first columns are drawn, so put those that separate the segments most first.
        numeric = numeric[[*kept, *(column for column in numeric if column not in kept)]]
    return maps.pair_plot(
        numeric, result.labels, _names(result), log1p=result.features.log1p, seed=result.seed
    )


def _separation(result: SegmentationResult, columns: list[str]) -> pd.Series:
    numeric = result.profile[result.profile["feature"].isin(columns)]
    wide = numeric.pivot(index="segment", columns="feature", values="z")[columns]
    return segment_cards.separation(wide, _shares(result))


def _segment_map(result: SegmentationResult) -> Drawing | None:
    return maps.segment_map(
        result.customers.frame[list(result.features.columns)],
        result.Z,
        result.labels,
        _names(result),
        encoded_names=result.encoded_names,
        log1p=result.features.log1p,
        seed=result.seed,
    )


def _elbow(result: SegmentationResult) -> Drawing | None:
    if len(result.curve) < 2:
        return None
    return k_curves.elbow(result.curve, result.k, structure=result.choice.structure)


def _silhouette_curve(result: SegmentationResult) -> Drawing | None:
    return k_curves.silhouette_curve(result.curve, result.k)


def _silhouette_plot(result: SegmentationResult) -> Drawing | None:
    return segment_cards.silhouette_plot(result.silhouettes, _names(result))


def _profile_heatmap(result: SegmentationResult) -> Drawing | None:
    return segment_cards.profile_heatmap(result.profile, _names(result), _shares(result))


def _segment_sizes(result: SegmentationResult) -> Drawing | None:
    return segment_cards.sizes([segment.size for segment in result.segments], _names(result))


def _criteria(result: SegmentationResult) -> Drawing | None:
    evidence = result.choice.evidence
    if evidence is None:
        return None
    return k_curves.criteria(evidence.table, evidence.picks, result.k, bands=evidence.null_bands)


def _clustergram(result: SegmentationResult) -> Drawing | None:
    rows = sample_rows(result.Z, clustergram.ROWS, result.seed)
    labels = {k: clustering.labels_at(rows) for k, clustering in result.clusterings.items()}
    return clustergram.clustergram(result.Z[rows], labels, result.labels[rows])


def _stability(result: SegmentationResult) -> Drawing | None:
    if result.stability is None:
        return None
    return segment_cards.stability(result.stability.jaccard, _names(result))


def _feature_weights(result: SegmentationResult) -> Drawing | None:
    if result.importance is None:
        return None
    return explanations.feature_weights(result.importance.table)


def _rules(result: SegmentationResult) -> Drawing | None:
    frame = result.customers.frame[list(result.features.columns)]
    codes = dict.fromkeys(set(result.features.categorical) & set(frame), "str")
    return explanations.rule_chart(result.rules, frame.astype(codes), _names(result))


#: Every figure of a run, in report order.
FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "rules",
            _rules,
            section="segments",
            title="Rules",
            caption="How to recognise a segment: with all customers lined up from the lowest to "
            "the highest value, each bar covers those that meet the rule. Both percentages are "
            "measured on held-out customers.",
            alt="Range of each feature in the rule of each segment, with the quality of the rule",
        ),
        Figure(
            "segment_map",
            _segment_map,
            section="segments",
            title="Segment map",
            caption="Every customer, coloured by segment. Two features are shown in their "
            "original units; more features are projected onto their first two principal "
            "components.",
            alt="Map of the customers, coloured by segment, with numbered centres",
        ),
        Figure(
            "segment_sizes",
            _segment_sizes,
            section="segments",
            title="Segment sizes",
            caption="The number of customers in each segment.",
            alt="Bar chart of the number of customers in each segment",
        ),
        Figure(
            "profile_heatmap",
            _profile_heatmap,
            section="segments",
            title="Profile heatmap",
            caption="The mean of each segment in every numeric column, clustered on or not.",
            alt="Heatmap of each segment's mean of each feature, in standard deviations",
        ),
        Figure(
            "pair_plot",
            _pair_plot,
            section="segments",
            title="Pair plot",
            caption="Every pair of features, with the histogram of each feature on the diagonal.",
            alt="Scatter plots of every pair of features, coloured by segment",
        ),
        Figure(
            "feature_importance",
            _feature_weights,
            section="features",
            title="Feature importance",
            caption="Difference between the segments: the feature's share of the squared distances "
            "between the segments' centres. All distances: its share of the squared distances "
            "between customers, after scaling and weights. Moved: the share of customers who "
            "change segment when only this feature is shuffled.",
            alt="Bar chart of each feature's share of the difference between segments",
        ),
        Figure(
            "silhouette_plot",
            _silhouette_plot,
            section="stability",
            title="Silhouette plot",
            caption="How well each customer fits its segment: 1 is well inside, 0 is between two "
            "segments.",
            alt="Silhouette of every customer, sorted within each segment",
        ),
        Figure(
            "stability",
            _stability,
            section="stability",
            title="Stability",
            caption="How well each segment is recovered when the customers are resampled "
            "(bootstrap).",
            alt="Bar chart of how well each segment is recovered when customers are resampled",
        ),
        Figure(
            "criteria",
            _criteria,
            section="choice",
            title="Criteria",
            caption="Every criterion over k, with the k it picks and the values it reaches on "
            "data without clusters (grey).",
            alt="Each criterion over the number of segments, with the k it picks",
        ),
        Figure(
            "elbow",
            _elbow,
            section="choice",
            title="Elbow",
            caption="The within-cluster sum of squares over k. It always falls as k grows, so it "
            "cannot choose k by itself.",
            alt="Within-cluster sum of squares over the number of segments",
        ),
        Figure(
            "silhouette_curve",
            _silhouette_curve,
            section="choice",
            title="Silhouette curve",
            caption="The mean silhouette over k. It is high where the segments are well separated.",
            alt="Mean silhouette over the number of segments",
        ),
        Figure(
            "clustergram",
            _clustergram,
            section="choice",
            title="Clustergram",
            caption="How clusters split as k grows. The width of a band is the number of customers "
            "it carries.",
            alt="How clusters split as the number of segments grows",
        ),
        Figure(
            "distributions",
            _distributions,
            section="data",
            title="Distributions",
            caption="Every column of the customers as read, before scaling.",
            alt="Histogram or bar chart of every column of the customers",
            of_data=True,
        ),
    )
}


@dataclass(frozen=True)
class _Data:
    """The part of a result that the figures of the data use."""

    customers: Customers
    features: FeatureSet


def data_figures(customers: Customers, columns: Sequence[str]) -> dict[str, Drawing]:
    """Draw the figures that need only the customers, before there is a result.

    Parameters
    ----------
    customers : Customers
    columns : sequence of str
        Columns to draw, those that a run would describe.
    """
    data = cast("SegmentationResult", _Data(customers, FeatureSet(columns=tuple(columns))))
    drawn = {figure.name: figure.draw(data) for figure in FIGURES.values() if figure.of_data}
    return {name: figure for name, figure in drawn.items() if figure is not None}
