"""Figures of a segmentation: one function a figure, this table names them.

Adding one is a function that takes plain data and returns a `matplotlib.figure.Figure`, and a line
in `FIGURES`. Nothing here touches pyplot or the caller's rcParams.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
from pandas.api.types import is_numeric_dtype

from segmentation.evaluation.sampling import sample_rows
from segmentation.visualization import clustergram, explanations, k_curves, maps, segment_cards
from segmentation.visualization.distributions import distributions as draw_customers
from segmentation.visualization.style import segment_color, styled, to_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from segmentation.result import SegmentationResult

__all__ = ["DATA_FIGURES", "FIGURES", "draw_customers", "segment_color", "styled", "to_png"]


def _names(result: SegmentationResult) -> list[str]:
    return [segment.name for segment in result.segments]


def _shares(result: SegmentationResult) -> list[float]:
    return [segment.share for segment in result.segments]


def _distributions(result: SegmentationResult) -> Figure | None:
    customers = result.customers
    return draw_customers({name: customers.column(name) for name in result.features.described})


def _pair_plot(result: SegmentationResult) -> Figure | None:
    frame = result.customers.frame[list(result.features.columns)]
    codes = set(result.features.categorical)
    numeric = frame[[c for c in frame if is_numeric_dtype(frame[c]) and c not in codes]]
    if numeric.shape[1] > maps.PAIR_COLUMNS and result.k > 1:
        kept = list(_separation(result, list(numeric.columns)).index[: maps.PAIR_COLUMNS])
        # The columns that part the segments most come first, so that they are the ones drawn.
        numeric = numeric[[*kept, *(column for column in numeric if column not in kept)]]
    return maps.pair_plot(
        numeric, result.labels, _names(result), log1p=result.features.log1p, seed=result.seed
    )


def _separation(result: SegmentationResult, columns: list[str]) -> pd.Series:
    numeric = result.profile[result.profile["feature"].isin(columns)]
    wide = numeric.pivot(index="segment", columns="feature", values="z")[columns]
    return segment_cards.separation(wide, _shares(result))


def _segment_map(result: SegmentationResult) -> Figure | None:
    return maps.segment_map(
        result.customers.frame[list(result.features.columns)],
        result.Z,
        result.labels,
        _names(result),
        encoded_names=result.encoded_names,
        log1p=result.features.log1p,
        seed=result.seed,
    )


def _elbow(result: SegmentationResult) -> Figure | None:
    if len(result.curve) < 2:
        return None
    return k_curves.elbow(result.curve, result.k, structure=result.choice.structure)


def _silhouette_curve(result: SegmentationResult) -> Figure | None:
    return k_curves.silhouette_curve(result.curve, result.k)


def _silhouette_plot(result: SegmentationResult) -> Figure | None:
    return segment_cards.silhouette_plot(result.silhouettes, _names(result))


def _profile_heatmap(result: SegmentationResult) -> Figure | None:
    return segment_cards.profile_heatmap(result.profile, _names(result), _shares(result))


def _segment_sizes(result: SegmentationResult) -> Figure | None:
    return segment_cards.sizes([segment.size for segment in result.segments], _names(result))


def _criteria(result: SegmentationResult) -> Figure | None:
    evidence = result.choice.evidence
    if evidence is None:
        return None
    return k_curves.criteria(evidence.table, evidence.picks, result.k, bands=evidence.null_bands)


def _clustergram(result: SegmentationResult) -> Figure | None:
    rows = sample_rows(result.Z, clustergram.ROWS, result.seed)
    labels = {k: clustering.labels_at(rows) for k, clustering in result.clusterings.items()}
    return clustergram.clustergram(result.Z[rows], labels, result.labels[rows])


def _stability(result: SegmentationResult) -> Figure | None:
    if result.stability is None:
        return None
    return segment_cards.stability(result.stability.jaccard, _names(result))


def _feature_weights(result: SegmentationResult) -> Figure | None:
    if result.importance is None:
        return None
    return explanations.feature_weights(result.importance.table)


def _rules(result: SegmentationResult) -> Figure | None:
    frame = result.customers.frame[list(result.features.columns)]
    codes = dict.fromkeys(set(result.features.categorical) & set(frame), "str")
    return explanations.rule_chart(result.rules, frame.astype(codes), _names(result))


#: Every figure of a run by name; one that does not apply to a result gives None.
FIGURES: dict[str, Callable[[SegmentationResult], Figure | None]] = {
    "segment_map": _segment_map,
    "segment_sizes": _segment_sizes,
    "profile_heatmap": _profile_heatmap,
    "rules": _rules,
    "feature_importance": _feature_weights,
    "pair_plot": _pair_plot,
    "silhouette_plot": _silhouette_plot,
    "elbow": _elbow,
    "silhouette_curve": _silhouette_curve,
    "criteria": _criteria,
    "clustergram": _clustergram,
    "stability": _stability,
    "distributions": _distributions,
}

#: Those that depend on the customers alone and are the same for every run of a sweep.
DATA_FIGURES: frozenset[str] = frozenset({"distributions"})
