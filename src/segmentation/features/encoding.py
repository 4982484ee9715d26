"""Encode customers as the matrix that is clustered, millions of them part by part."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    PowerTransformer,
)

from segmentation.errors import DataError
from segmentation.features.feature_set import FeatureSet
from segmentation.features.scaling import check_scalable, make_scaler
from segmentation.runtime.blocks import parts

#: From this many customers on, they are encoded in parts.
MANY_ROWS = 250_000
#: Number of customers on which a fitted encoder is checked, and the largest error allowed for a
#: power transform, in standard deviations.
CHECKED_ROWS, KEPT = 10_000, 0.01
#: From this many numbers on, a matrix is kept in single precision, which takes half the memory,
#: unless the mean of a column is more than this many standard deviations from zero, where single
#: precision has too few digits.
SINGLE_NUMBERS, SINGLE_OFFSET = 40_000_000, 16.0


def build_encoder(
    features: FeatureSet,
    scaling: str | Mapping[str, Any] | TransformerMixin,
    frame: pd.DataFrame,
) -> ColumnTransformer:
    """Build the unfitted transformer from customers to the (n, d) array that is clustered.

    Numeric columns get log1p if set, then the scaling. Categories are one-hot encoded and not
    scaled. Weights come last. The output is in the order of `features.columns`.

    Parameters
    ----------
    features
        As returned by `resolve`.
    scaling
        See `make_scaler`.
    frame
        The customers it will be fitted on.

    Raises
    ------
    ConfigError
        The scaling is unknown.
    DataError
        The scaling cannot scale a column.
    """

    categorical = [column for column in features.columns if column in features.categorical]

    def treatment(column: str) -> tuple[str, float, str]:
        kind = "one_hot" if column in features.categorical else "numeric"
        if column in features.log1p:
            kind = "log1p"
        # `a` with the value b_c and `a_b` with c would share a name: each gets its own block.
        is_alike = column in categorical and any(
            one.startswith(f"{other}_")
            for one, other in itertools.permutations(categorical, 2)
            if column in (one, other)
        )
        weight = float(features.weights.get(column, 1.0))
        return kind, weight, column if is_alike else ""

    blocks: list[tuple[str, TransformerMixin | Pipeline, list[str]]] = []
    weights: dict[str, float] = {}
    for (kind, weight, _), group in itertools.groupby(features.columns, treatment):
        columns = list(group)
        step: TransformerMixin | Pipeline
        if kind == "one_hot":
            step = OneHotEncoder(sparse_output=False, handle_unknown="error")
        else:
            step = make_scaler(scaling, len(frame))
            check_scalable(step, frame[columns])
        if kind == "log1p":
            log1p = FunctionTransformer(
                np.log1p, inverse_func=np.expm1, feature_names_out="one-to-one", check_inverse=False
            )
            step = Pipeline([("log1p", log1p), ("scaling", step)])
        name = f"{kind}_{len(blocks)}"
        blocks.append((name, step, columns))
        if weight != 1.0:
            weights[name] = weight
    return ColumnTransformer(
        blocks,
        transformer_weights=weights or None,
        sparse_threshold=0.0,
        verbose_feature_names_out=False,
    )


def fit_transform(encoder: ColumnTransformer, frame: pd.DataFrame) -> NDArray[Any]:
    """Fit an encoder and encode the customers: the (n, d) array that is clustered.

    Many rows are encoded part by part, and scalers with ``partial_fit`` are fitted part by part:
    scikit-learn alone would hold the matrix three times at its peak. The result is the same up to
    rounding, which is that of single precision from `SINGLE_NUMBERS` numbers on.

    Parameters
    ----------
    encoder
        From `segmentation.features.encoding.build_encoder`; fitted in place.
    frame
        The customers.

    Raises
    ------
    DataError
        See `check_fitted`.
    """
    n = len(frame)
    if n < MANY_ROWS:
        Z = np.ascontiguousarray(encoder.fit_transform(frame), dtype=np.float64)
        check_fitted(encoder, frame)
        settle_names(encoder)
        return Z
    scalers = [scaler_of(step) for _, step, _ in encoder.transformers]
    if all(hasattr(scaler, "partial_fit") for scaler in scalers):
        encoder.fit(frame.iloc[:2])
        for i, (name, step, columns) in enumerate(encoder.transformers_):
            scaler = clone(scaler_of(step))
            for part in parts(n):
                rows = frame[list(columns)].iloc[part]
                scaler.partial_fit(step[0].transform(rows) if isinstance(step, Pipeline) else rows)
            if isinstance(step, Pipeline):
                step.steps[-1] = (step.steps[-1][0], scaler)
            else:
                encoder.transformers_[i] = (name, scaler, columns)
    else:
        encoder.fit(frame)
    check_fitted(encoder, frame)
    settle_names(encoder)
    few = encoder.transform(_spread_out(frame))
    near = (np.abs(few.mean(axis=0)) <= SINGLE_OFFSET * few.std(axis=0)).all()
    is_single = near and n * few.shape[1] >= SINGLE_NUMBERS
    Z = np.empty((n, few.shape[1]), np.float32 if is_single else np.float64)
    for part in parts(n):
        Z[part] = encoder.transform(frame.iloc[part])
    return Z


def _spread_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Return at most `CHECKED_ROWS` customers, evenly spaced from start to end."""
    return frame.iloc[:: -(-len(frame) // CHECKED_ROWS)]


def scaler_of(step: TransformerMixin | Pipeline) -> TransformerMixin:
    """Return the scaler of an encoder's block: the last of its steps, or the only one."""
    return step[-1] if isinstance(step, Pipeline) else step


def settle_names(encoder: ColumnTransformer) -> None:
    """Put the block before the names of the encoded columns if they are not unique without it.

    The value ``premium`` of a column ``plan`` is encoded as ``plan_premium``, which may be the name
    of another column. scikit-learn raises an error when it is asked for such names.

    Parameters
    ----------
    encoder : ColumnTransformer
        From `segmentation.features.encoding.build_encoder`, fitted.
    """
    try:
        encoder.get_feature_names_out()
    except ValueError:
        encoder.verbose_feature_names_out = True


def changed_names(encoder: ColumnTransformer) -> pd.DataFrame | None:
    """Return what the encoded columns stand for, or None if `settle_names` did not change them.

    Returns
    -------
    DataFrame or None
        One row per encoded column: ``encoded``, its name; ``column``, the feature; ``category``,
        None for numbers.
    """
    if not encoder.verbose_feature_names_out:
        return None
    rows: list[tuple[str, str | None]] = []
    for _, step, columns in encoder.transformers_:
        if isinstance(step, OneHotEncoder):
            for column, values in zip(columns, step.categories_, strict=True):
                rows += [(str(column), str(value)) for value in values]
        else:
            names = step.get_feature_names_out(list(columns))
            rows += [(str(name), None) for name in names]
    table = pd.DataFrame(rows, columns=["column", "category"])
    table.insert(0, "encoded", encoder.get_feature_names_out())
    return table


def check_fitted(encoder: ColumnTransformer, frame: pd.DataFrame) -> None:
    """Refuse a power transform that makes different values of a column equal.

    scikit-learn does not report this. If values are far from zero relative to their spread, they
    differ after being raised to a negative power by less than a double can represent: a year with a
    long right tail would become constant.

    Parameters
    ----------
    encoder : ColumnTransformer
        From `segmentation.features.encoding.build_encoder`, fitted.
    frame : DataFrame
        Customers it was fitted on; at most `CHECKED_ROWS` of them are checked.

    Raises
    ------
    DataError
    """
    rows = _spread_out(frame)
    for _, step, columns in encoder.transformers_:
        scaler = scaler_of(step)
        if not isinstance(scaler, PowerTransformer):
            continue
        values = step.transform(rows[list(columns)])
        with np.errstate(all="ignore"):
            back = step.inverse_transform(values)
        for place, name in enumerate(columns):
            given = rows[name].to_numpy(dtype=np.float64)
            # NaN if a value comes back infinite; less than one unit wide if it was not scaled.
            is_exact = np.abs(back[:, place] - given).max() <= KEPT * given.std()
            is_wide = not scaler.standardize or values[:, place].std() > 0.5
            if not (is_exact and is_wide):
                lambda_ = f"{scaler.lambdas_[place]:.2f}"
                raise DataError(
                    f"Column '{name}': a power transform (lambda {lambda_}) makes its values "
                    "equal, because they vary too little for their distance from zero. Use another "
                    "scaling, such as quantile, or a nearer origin (for example years since 1950)."
                )
