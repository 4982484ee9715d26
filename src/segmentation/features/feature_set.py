"""The feature set: the columns a run clusters on, checked against the customers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from segmentation.data.customers import Customers, require_columns
from segmentation.errors import ConfigError, DataError
from segmentation.features.profile_columns import all_columns, describing

MAX_CATEGORIES = 50


@dataclass(frozen=True)
class FeatureSet:
    """The columns a run clusters on, and how each is encoded.

    Attributes
    ----------
    name
        Short readable name; if "", it is made from the columns.
    columns
        Columns to cluster on; empty means all numeric ones.
    log1p
        Those of `columns` that are transformed by log(1 + x) before the scaling.
    weights
        Factor of each scaled column (default 1); for a category, of its whole one-hot block.
    categorical
        Numeric columns that are codes of categories; text is always categorical.
    profile
        Columns that describe the segments and take no part in the clustering; `None` uses all
        other columns that can.
    left_out
        Columns that do not describe segments, and why; set by `resolve`.
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
        """Every column that describes a segment, starting with those clustered on."""
        return (*self.columns, *(self.profile or ()))


def resolve(features: FeatureSet | Sequence[str] | None, customers: Customers) -> FeatureSet:
    """Check a feature set against the customers and fill in what it leaves open.

    Parameters
    ----------
    features
        A feature set, column names, or `None` for all numeric columns.
    customers
        The customers to cluster.

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
    # For numbers it only matters whether they differ, which needs no count over millions.
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
        # A column that only describes may be a code too; the other keys need a clustered column.
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
                "Remove it from features.log1p."
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
            f"and does not tell customers apart. Drop it: features.columns=[{rest}]"
        )
    for name in (c for c in columns if c in features.categorical):
        if frame[name].isna().any():
            raise DataError(
                f"{source}, column '{name}': missing values ({int(frame[name].isna().sum())}). "
                "Fill them in, or drop these customers with data.missing=drop."
            )
        if counts[name] > MAX_CATEGORIES:
            raise DataError(
                f"{source}, column '{name}' is text with {counts[name]} different values "
                f"(at most {MAX_CATEGORIES} can be clustered on), e.g. {frame[name].iloc[0]!r}. "
                "Remove it from features.columns, or turn it into a number first."
            )
