"""The table of scalings, and scalers made from a name, a config or a transformer."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.preprocessing import (
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from segmentation.errors import ConfigError, DataError

# scikit-learn's default; with more quantiles a column's values no longer change visibly
_MAX_QUANTILES = 1000


def _unscaled(n_rows: int) -> TransformerMixin:
    # A scaler that does nothing but turn integers into floats, which "passthrough" would not.
    return StandardScaler(with_mean=False, with_std=False)


def _quantile(n_rows: int) -> TransformerMixin:
    # subsample=None: a random sample of the rows would make the result depend on their order.
    return QuantileTransformer(n_quantiles=min(_MAX_QUANTILES, n_rows), subsample=None)


@dataclass(frozen=True)
class Scaling:
    """A way to scale the numeric columns.

    Attributes
    ----------
    name : str
        ``scaling=NAME`` chooses it.
    build : callable
        Takes the number of customers and returns the unfitted transformer.
    description : str
        One sentence on what it does.
    """

    name: str
    build: Callable[[int], TransformerMixin]
    description: str


#: To add a scaling, add a line here and its file in ``conf/scaling``.
SCALINGS = {
    scaling.name: scaling
    for scaling in (
        Scaling("none", _unscaled, "No scaling: columns with large values dominate."),
        Scaling("standard", lambda _: StandardScaler(), "Mean 0, standard deviation 1."),
        Scaling("minmax", lambda _: MinMaxScaler(), "Minimum 0, maximum 1."),
        Scaling(
            "robust",
            lambda _: RobustScaler(),
            "Median 0, interquartile range 1: outliers do not determine the scale.",
        ),
        Scaling(
            "power",
            lambda _: PowerTransformer(),
            "Yeo-Johnson transform towards a normal distribution, then standardised.",
        ),
        Scaling("quantile", _quantile, "Ranks: every column is uniform on 0..1."),
    )
}
# Transformers of sklearn.preprocessing that treat each numeric column separately and keep it one
# column.
_TARGETS = (
    "Binarizer",
    "MaxAbsScaler",
    "MinMaxScaler",
    "PowerTransformer",
    "QuantileTransformer",
    "RobustScaler",
    "StandardScaler",
)


def make_scaler(
    scaling: str | Mapping[str, Any] | TransformerMixin, n_rows: int
) -> TransformerMixin:
    """Make an unfitted scaler for n_rows customers.

    Parameters
    ----------
    scaling
        A name of `SCALINGS`; or `{"_target_": "sklearn.preprocessing.MaxAbsScaler", **arguments}`;
        or, in Python, any scikit-learn transformer, which is cloned.
    n_rows
        Number of customers it will be fitted on.

    Raises
    ------
    ConfigError
        The scaling is unknown, or its arguments are not valid.
    """
    if isinstance(scaling, str):
        if scaling not in SCALINGS:
            near = difflib.get_close_matches(scaling, SCALINGS, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"scaling={scaling} is not known; use one of {', '.join(SCALINGS)}.{hint}"
            )
        return SCALINGS[scaling].build(n_rows)
    if isinstance(scaling, Mapping):
        return _target(scaling, n_rows)
    if isinstance(scaling, BaseEstimator) and isinstance(scaling, TransformerMixin):
        return clone(scaling)
    raise ConfigError(
        f"scaling={scaling!r} is neither a name ({', '.join(SCALINGS)}) nor a transformer."
    )


def scaling_name(scaling: str | Mapping[str, Any] | TransformerMixin) -> str:
    """Return the short name of a scaling: the name itself, or the class of the transformer."""
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
                f"scaling.{key} is not an argument of {path}; it takes {', '.join(parameters)}."
            )
        if isinstance(value, list):  # YAML has no tuples; scikit-learn requires them for ranges
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


def check_scalable(scaler: TransformerMixin, frame: pd.DataFrame) -> None:
    """Refuse a column on which scikit-learn would fail without naming it, or leave unscaled."""
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
