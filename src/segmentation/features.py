"""A feature set and a scaling become one scikit-learn transformer of stock steps."""

from __future__ import annotations

import difflib
import importlib
import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from segmentation.data import Customers, require_columns
from segmentation.described import all_columns, describing
from segmentation.errors import ConfigError, DataError

MAX_CATEGORIES = 50
# scikit-learn's own default; beyond it the quantiles of a column no longer change visibly
_MAX_QUANTILES = 1000


def _unscaled(n_rows: int) -> TransformerMixin:
    # A scaler that does nothing but turn integers into floats, which "passthrough" would not.
    return StandardScaler(with_mean=False, with_std=False)


def _quantile(n_rows: int) -> TransformerMixin:
    # subsample=None: a random sample of the rows would make the result depend on their order.
    return QuantileTransformer(n_quantiles=min(_MAX_QUANTILES, n_rows), subsample=None)


# name -> function of the number of customers
SCALINGS: dict[str, Callable[[int], TransformerMixin]] = {
    "none": _unscaled,
    "standard": lambda n_rows: StandardScaler(),
    "minmax": lambda n_rows: MinMaxScaler(),
    "robust": lambda n_rows: RobustScaler(),
    "power": lambda n_rows: PowerTransformer(),
    "quantile": _quantile,
}
# Those of sklearn.preprocessing that treat each numeric column by itself and keep it one column.
_TARGETS = (
    "Binarizer",
    "MaxAbsScaler",
    "MinMaxScaler",
    "PowerTransformer",
    "QuantileTransformer",
    "RobustScaler",
    "StandardScaler",
)


@dataclass(frozen=True)
class FeatureSet:
    """The columns a run clusters on, and how each is encoded.

    Attributes
    ----------
    name
        Short readable name; "" gets one made of the columns.
    columns
        Columns to cluster on; empty means all numeric ones.
    log1p
        Those of them that go through log(1 + x) before the scaling.
    weights
        Factors of scaled columns (default 1); of a category's whole one-hot block.
    categorical
        Numeric columns that are codes of categories; text always is categorical.
    profile
        Columns that describe the segments and take no part in the clustering; `None` is for all
        others that can.
    left_out
        Columns that describe no segment, and why; `resolve` fills it in.
    """

    name: str = ""
    columns: tuple[str, ...] = ()
    log1p: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    categorical: tuple[str, ...] = ()
    profile: tuple[str, ...] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def described(self) -> tuple[str, ...]:
        """Every column a segment is described by, those clustered on first."""
        return (*self.columns, *(self.profile or ()))


def resolve(features: FeatureSet | Sequence[str] | None, customers: Customers) -> FeatureSet:
    """Check a feature set against the customers and fill in what it leaves open.

    Parameters
    ----------
    features
        A feature set, column names, or `None` for all numeric columns.
    customers
        The customers it is for.

    Returns
    -------
    The feature set with its columns, its name, the columns of its `profile` and its `categorical`
    columns (text ones included).

    Raises
    ------
    DataError
        A column is missing, constant, has too many categories or values log1p cannot take.
    ConfigError
        The parts of the feature set contradict each other.
    """
    frame, source = customers.frame, customers.source
    if isinstance(features, str):
        features = (features,)
    if not isinstance(features, FeatureSet):
        features = FeatureSet(columns=tuple(features or ()))
    numeric = [c for c in frame.columns if _is_number(frame[c])]
    auto = not features.columns
    if auto:
        listed = {*(features.profile or ()), *features.log1p, *features.weights}
        columns = [c for c in numeric if c not in (features.profile or ())]
        if not columns:
            raise DataError(
                f"{source} has no numeric column to cluster on; name text columns with "
                f"features.columns. Columns: {', '.join(frame.columns)}."
            )
        require_columns(sorted(listed), all_columns(customers), source)
        features = replace(features, columns=tuple(columns))
    require_columns(features.columns, list(frame.columns), source)
    require_columns(features.profile or (), all_columns(customers), source)
    profile, left_out = describing(
        customers, features.columns, features.categorical, features.profile
    )
    _check_names(features, (*features.columns, *profile, *left_out))
    described = [(name, customers.column(name)) for name in (*features.columns, *profile)]
    features = replace(
        features,
        name=features.name or _name(features, auto),
        profile=tuple(profile),
        left_out={**features.left_out, **left_out},
        categorical=tuple(
            name
            for name, column in described
            if name in features.categorical or not _is_number(column)
        ),
    )
    _check_columns(features, frame, source, numeric if auto else features.columns)
    return features


def _values(column: pd.Series[Any], *, count: bool) -> int:
    # Of numbers only whether there are several is asked, which takes no counting of millions.
    return int(column.nunique()) if count else 1 + bool(column.min() < column.max())


def _name(features: FeatureSet, auto: bool) -> str:
    if len(features.columns) <= 3:
        return "+".join(features.columns)
    return "all_numeric" if auto else f"{len(features.columns)}_columns"


def _is_number(column: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_numeric_dtype(column))


def _check_names(features: FeatureSet, described: Sequence[str]) -> None:
    for key in ("columns", "log1p", "categorical", "profile"):
        names = getattr(features, key) or ()
        twice = [name for name in dict.fromkeys(names) if list(names).count(name) > 1]
        if twice:
            raise ConfigError(f"features.{key} names '{twice[0]}' twice.")
    for key in ("log1p", "weights", "categorical"):
        # What is only described may be a code too; the rest is about the clustered columns.
        choices = described if key == "categorical" else features.columns
        for name in getattr(features, key):
            if name not in choices:
                raise ConfigError(
                    f"features.{key} names '{name}', which is not one of features.columns "
                    f"({', '.join(choices)})."
                )
    for name in features.profile or ():
        if name in features.columns:
            raise ConfigError(
                f"features.profile names '{name}', which is also in features.columns; a column "
                "either shapes the segments or only describes them."
            )
    for name, weight in features.weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise ConfigError(
                f"features.weights.{name}={weight} is not allowed; use a number above 0."
            )


def _check_columns(
    features: FeatureSet, frame: pd.DataFrame, source: str, choices: Sequence[str]
) -> None:
    columns = list(features.columns)
    for name in features.log1p:
        if name in features.categorical:
            raise ConfigError(f"features.log1p names '{name}', which is categorical.")
        low = frame[name].min()
        if low <= -1:
            raise DataError(
                f"{source}, column '{name}': log1p needs values above -1, the smallest is {low}. "
                "Take it out of features.log1p."
            )
    counts = {name: _values(frame[name], count=name in features.categorical) for name in columns}
    constant = [name for name in columns if counts[name] < 2]
    if len(constant) == len(columns):
        raise DataError(
            f"{source}: all {len(frame)} customers are identical in {', '.join(columns)}; "
            "there is nothing to segment."
        )
    if constant:
        rest = ",".join(name for name in choices if counts.get(name, 0) > 1)
        raise DataError(
            f"{source}: column '{constant[0]}' is constant (always {frame[constant[0]].iloc[0]}) "
            f"and tells no customers apart. Drop it: features.columns=[{rest}]"
        )
    for name in (c for c in columns if c in features.categorical):
        if frame[name].isna().any():
            raise DataError(
                f"{source}, column '{name}': missing values ({int(frame[name].isna().sum())}). "
                "Complete them, or drop these customers with data.missing=drop."
            )
        if counts[name] > MAX_CATEGORIES:
            raise DataError(
                f"{source}, column '{name}' is text with {counts[name]} different values "
                f"(at most {MAX_CATEGORIES} can be clustered on), e.g. {frame[name].iloc[0]!r}. "
                "Take it out of features.columns, or turn it into a number first."
            )


def make_scaler(
    scaling: str | Mapping[str, Any] | TransformerMixin, n_rows: int
) -> TransformerMixin:
    """Unfitted scaler for n_rows customers.

    Parameters
    ----------
    scaling
        A name of `SCALINGS`; or `{"_target_": "sklearn.preprocessing.MaxAbsScaler", **arguments}`;
        or, in Python, any scikit-learn transformer, of which a clone is used.
    n_rows
        Number of customers it will be fitted on.

    Raises
    ------
    ConfigError
        No such scaling, or the arguments do not fit it.
    """
    if isinstance(scaling, str):
        if scaling not in SCALINGS:
            near = difflib.get_close_matches(scaling, SCALINGS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"scaling={scaling} is not known; use one of {', '.join(SCALINGS)}.{hint}"
            )
        return SCALINGS[scaling](n_rows)
    if isinstance(scaling, Mapping):
        return _target(scaling, n_rows)
    if isinstance(scaling, BaseEstimator) and isinstance(scaling, TransformerMixin):
        return clone(scaling)
    raise ConfigError(
        f"scaling={scaling!r} is neither a name ({', '.join(SCALINGS)}) nor a transformer."
    )


def scaling_name(scaling: str | Mapping[str, Any] | TransformerMixin) -> str:
    """Short name of a scaling: itself, or the class of the transformer."""
    if isinstance(scaling, Mapping):
        return str(scaling.get("_target_")).rsplit(".", 1)[-1]
    return scaling if isinstance(scaling, str) else type(scaling).__name__


def _target(config: Mapping[str, Any], n_rows: int) -> TransformerMixin:
    path = str(config.get("_target_"))
    allowed = [f"sklearn.preprocessing.{name}" for name in _TARGETS]
    if path not in allowed:
        raise ConfigError(f"scaling._target_={path} is not allowed; use {', '.join(allowed)}.")
    kind = getattr(importlib.import_module("sklearn.preprocessing"), path.rsplit(".", 1)[1])
    arguments = {key: value for key, value in config.items() if key != "_target_"}
    parameters = [p for p in inspect.signature(kind).parameters if p != "copy"]
    for key, value in arguments.items():
        if key not in parameters:
            raise ConfigError(
                f"scaling.{key} is no argument of {path}; it takes {', '.join(parameters)}."
            )
        if isinstance(value, list):  # YAML has no tuples; scikit-learn wants them for ranges
            arguments[key] = tuple(value)
    if kind is QuantileTransformer:
        wanted = arguments.get("n_quantiles", _MAX_QUANTILES)
        fitting = min(wanted, n_rows) if isinstance(wanted, int) else wanted
        arguments = {"subsample": None} | arguments | {"n_quantiles": fitting}
    scaler = kind(**arguments)
    try:  # scikit-learn checks the arguments when it fits
        scaler.fit(np.linspace(1.0, 2.0, min(n_rows, _MAX_QUANTILES)).reshape(-1, 1))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"scaling: {str(error).splitlines()[0]}") from None
    return clone(scaler)


def build_encoder(
    features: FeatureSet,
    scaling: str | Mapping[str, Any] | TransformerMixin,
    frame: pd.DataFrame,
) -> ColumnTransformer:
    """Unfitted transformer from customers to the (n, d) array that is clustered.

    Numeric columns: log1p, then the scaling. Categories: one-hot, not scaled. Weights last.
    Outputs stand in the order of `features.columns`.

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
        No such scaling.
    DataError
        The scaling cannot scale a column.
    """

    def treatment(column: str) -> tuple[str, float]:
        kind = "one_hot" if column in features.categorical else "numeric"
        if column in features.log1p:
            kind = "log1p"
        return kind, float(features.weights.get(column, 1.0))

    blocks: list[tuple[str, TransformerMixin | Pipeline, list[str]]] = []
    weights: dict[str, float] = {}
    for (kind, weight), group in itertools.groupby(features.columns, treatment):
        columns = list(group)
        step: TransformerMixin | Pipeline
        if kind == "one_hot":
            step = OneHotEncoder(sparse_output=False, handle_unknown="error")
        else:
            step = make_scaler(scaling, len(frame))
            _check_scalable(step, frame[columns])
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


def _check_scalable(scaler: TransformerMixin, frame: pd.DataFrame) -> None:
    """Refuse what scikit-learn would fail on with no column named, or leave unscaled in silence."""
    if isinstance(scaler, PowerTransformer) and scaler.method == "box-cox":
        for name in frame.columns[(frame <= 0).any()]:
            raise DataError(
                f"Column '{name}': box-cox needs values above 0, the smallest is "
                f"{frame[name].min()}; use method=yeo-johnson (scaling=power)."
            )
    if isinstance(scaler, RobustScaler) and scaler.with_scaling:
        low, high = (np.percentile(frame, q, axis=0) for q in scaler.quantile_range)
        for name in frame.columns[low == high]:
            raise DataError(
                f"Column '{name}': most customers share one value, so its quartiles are equal and "
                "scaling=robust cannot scale it. Use another scaling, or leave the column out."
            )
