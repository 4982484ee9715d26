"""Customers become the matrix that is clustered, millions of them a part at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_batches

from segmentation.features import check_fitted

#: Customers encoded at a time.
PART_ROWS = 250_000


def fit_transform(encoder: ColumnTransformer, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Fit an encoder and encode the customers: the (n, d) array that is clustered.

    Many rows are encoded a part at a time, and scalers that can be are fitted so: at its peak
    scikit-learn would hold the matrix three times. The result is the same up to rounding.

    Parameters
    ----------
    encoder
        From `segmentation.features.build_encoder`; fitted in place.
    frame
        The customers.

    Raises
    ------
    DataError
        See `segmentation.features.check_fitted`.
    """
    n = len(frame)
    if n <= PART_ROWS:
        Z = np.ascontiguousarray(encoder.fit_transform(frame), dtype=np.float64)
        check_fitted(encoder, frame)
        return Z
    scalers = [
        step[-1] if isinstance(step, Pipeline) else step for _, step, _ in encoder.transformers
    ]
    parts = list(gen_batches(n, PART_ROWS))
    if all(hasattr(scaler, "partial_fit") for scaler in scalers):
        encoder.fit(frame.iloc[:2])
        for i, (name, step, columns) in enumerate(encoder.transformers_):
            scaler = clone(step[-1] if isinstance(step, Pipeline) else step)
            for part in parts:
                rows = frame[list(columns)].iloc[part]
                scaler.partial_fit(step[0].transform(rows) if isinstance(step, Pipeline) else rows)
            if isinstance(step, Pipeline):
                step.steps[-1] = (step.steps[-1][0], scaler)
            else:
                encoder.transformers_[i] = (name, scaler, columns)
    else:
        encoder.fit(frame)
    check_fitted(encoder, frame)
    Z = np.empty((n, len(encoder.get_feature_names_out())))
    for part in parts:
        Z[part] = encoder.transform(frame.iloc[part])
    return Z
