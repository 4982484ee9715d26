"""Build the portable model of a result."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from segmentation.evaluation import drift
from segmentation.model import flavor
from segmentation.result import SegmentationResult


def portable_model(result: SegmentationResult) -> flavor.PortableModel:
    """Build the model to log: the pipeline and everything else needed to score customers."""
    columns = list(result.features.columns)
    frame = result.customers.frame[columns]
    encoder = result.pipeline.named_steps["features"]
    categories: dict[str, list[str | float]] = {}
    for _, transformer, names in encoder.transformers_:
        if hasattr(transformer, "categories_"):
            for name, values in zip(names, transformer.categories_, strict=True):
                categories[str(name)] = values.tolist()
    return flavor.PortableModel(
        pipeline=result.pipeline,
        columns=columns,
        categories=categories,
        segment_ids=[s.id for s in result.segments],
        segment_names=[s.name for s in result.segments],
        radius=[
            float(np.quantile(result.distances[result.labels == s.id], 0.99))
            for s in result.segments
        ],
        example=_typical_row(frame),
        log1p=list(result.features.log1p),
        reference=drift.reference(frame, categories, result.labels, result.distances, result.k),
    )


def _typical_row(frame: pd.DataFrame) -> pd.DataFrame:
    """Return medians and most frequent categories: an example that is not a real customer."""
    row = {
        name: np.median(column) if is_numeric_dtype(column) else column.mode()[0]
        for name, column in frame.items()
    }
    return pd.DataFrame([row])
