"""Fit the encoder to all rows: stock scikit-learn steps with parameters computed by Spark."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as sf
from sklearn.base import TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from segmentation.errors import DataError
from segmentation.features.encoding import build_encoder, check_fitted, scaler_of, settle_names
from segmentation.features.feature_set import MAX_CATEGORIES, FeatureSet
from segmentation.spark.sample import SparkCustomers
from segmentation.spark.table import RANK_ACCURACY, quantiles

#: Number of stand-in rows; with 101 of them each percentile is the value of one row.
STAND_INS = 101


def fit_encoder(
    customers: SparkCustomers,
    features: FeatureSet,
    scaling: str | Mapping[str, Any] | TransformerMixin,
) -> tuple[ColumnTransformer, str | None]:
    """Fit the encoder to all rows, as far as possible.

    Standard, min-max, max-abs and robust scalers are refitted to a few stand-in rows that have
    exactly the statistics Spark computed from all rows: mean, population standard deviation,
    extremes, quartiles.

    Parameters
    ----------
    customers : SparkCustomers
    features : FeatureSet
        As returned by `segmentation.features.feature_set.resolve` for the sample.
    scaling : str, mapping or transformer
        See `segmentation.features.scaling.make_scaler`.

    Returns
    -------
    ColumnTransformer and str or None
        The fitted encoder, and a note on parameters that are estimated from the sample or only
        approximate.

    Raises
    ------
    DataError
        A column cannot be encoded.
    """
    sample = customers.sample.frame
    encoder = build_encoder(features, scaling, sample)
    if len(sample) == customers.sample.total:
        encoder.fit(sample)
        check_fitted(encoder, sample)
        settle_names(encoder)
        return encoder, None
    categorical = [name for name in features.columns if name in features.categorical]
    known = _categories(customers.frame, categorical, customers.sample.source)
    encoder.fit(sample.assign(**{n: np.resize(v, len(sample)) for n, v in known.items()}))
    check_fitted(encoder, sample)
    settle_names(encoder)
    notes: set[str] = set()
    for name, step, columns in encoder.transformers_:
        if name not in encoder.named_transformers_ or columns[0] in categorical:
            continue
        log1p = isinstance(step, Pipeline)
        scaler = scaler_of(step)
        rows, note = _stand_ins(scaler, customers, list(columns), log1p=log1p)
        if rows is not None:
            units = np.expm1(rows) if log1p else rows
            step.fit(pd.DataFrame(units, columns=columns))
            if hasattr(scaler, "n_samples_seen_"):
                scaler.n_samples_seen_ = customers.sample.total
        if note is not None:
            notes.add(note)
    return encoder, "; ".join(sorted(notes)) or None


def _stand_ins(
    scaler: TransformerMixin, customers: SparkCustomers, columns: list[str], *, log1p: bool
) -> tuple[NDArray[np.float64] | None, str | None]:
    """Return rows with the statistics this scaler needs; None to keep the fit on the sample."""
    facts = [customers.facts[name] for name in columns]
    given = [sf.col(_quoted(name)) for name in columns]
    if log1p:
        for name, known in zip(columns, facts, strict=True):
            if known.low <= -1:
                raise DataError(
                    f"{customers.sample.source}, column '{name}': log1p needs values above -1, the "
                    f"smallest is {known.low:g}. Remove it from features.log1p."
                )
        given = [sf.log1p(column) for column in given]
    if isinstance(scaler, StandardScaler):
        if not scaler.with_mean and not scaler.with_std:
            return None, None
        moments = np.array([[known.mean, known.std] for known in facts])
        if log1p:
            asked = [f(column) for column in given for f in (sf.avg, sf.stddev_pop)]
            moments = np.array(customers.frame.agg(*asked).collect()[0], float).reshape(-1, 2)
        mean, std = moments.T
        return np.stack([mean - std, mean + std]), None
    if isinstance(scaler, MinMaxScaler | MaxAbsScaler):
        ends = np.array([[known.low, known.high] for known in facts]).T
        return np.log1p(ends) if log1p else ends, None
    if isinstance(scaler, RobustScaler):
        low, high = scaler.quantile_range
        found = quantiles(customers.frame, given, [low / 100, 0.5, high / 100])
        for name, (first, _, last) in zip(columns, found, strict=True):
            if scaler.with_scaling and first == last:
                raise DataError(
                    f"{customers.sample.source}, column '{name}': most customers share one value, "
                    "so its quartiles are equal and scaling=robust cannot scale it. Use another "
                    "scaling, or leave the column out."
                )
        rows = np.repeat(found[:, 1][None], STAND_INS, axis=0)
        rows[: int(np.ceil(low)) + 1] = found[:, 0]
        rows[int(np.floor(high)) :] = found[:, 2]
        return rows, (
            "the quartiles used for scaling are approximate: their ranks are off by at most "
            f"{RANK_ACCURACY:.4%} of the rows"
        )
    kind = type(scaler).__name__
    return None, f"{kind} is fitted on the sample: its parameters are not sums over all rows"


def _categories(
    frame: DataFrame, columns: list[str], source: str
) -> dict[str, list[str] | list[int] | list[float]]:
    """Return the sorted categories of each column over all rows."""
    found = {}
    for name in columns:
        rows = frame.select(_quoted(name)).distinct().limit(MAX_CATEGORIES + 1).collect()
        values = sorted(row[0] for row in rows)
        if len(values) > MAX_CATEGORIES:
            raise DataError(
                f"{source}, column '{name}' is text with more than {MAX_CATEGORIES} different "
                f"values (at most {MAX_CATEGORIES} can be clustered on), e.g. {values[0]!r}. "
                "Remove it from features.columns, or turn it into a number first."
            )
        found[name] = values
    return found


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
