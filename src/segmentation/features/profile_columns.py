"""Choose the columns that describe the segments in addition to those clustered on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd
from pandas.api.types import is_numeric_dtype

from segmentation.data.customers import Customers

#: A column with more categories is described only if the feature set names it.
MOST_CATEGORIES = 50
#: Number of columns described if the feature set names none: the first of the file.
MOST_COLUMNS = 50


def all_columns(customers: Customers) -> list[str]:
    """Return every column of the customers except the id, usable or not."""
    others = customers.others
    return list(dict.fromkeys((*customers.frame.columns, *others.columns, *others.left_out)))


def describing(
    customers: Customers,
    clustered: Collection[str],
    categorical: Collection[str],
    asked: Sequence[str] | None,
) -> tuple[list[str], dict[str, str]]:
    """Return the columns to describe segments by, and why the others are left out.

    Parameters
    ----------
    customers : Customers
    clustered : collection of str
        Columns that are clustered on.
    categorical : collection of str
        Numeric columns that are codes of categories.
    asked : sequence of str or None
        The requested columns; None for all usable ones.

    Returns
    -------
    names : list of str
    left_out : dict
        Reason by name.
    """
    names: list[str] = []
    reasons: dict[str, str] = {}
    for name in all_columns(customers) if asked is None else asked:
        if name in clustered:
            continue
        reason = customers.others.left_out.get(name, "")
        if asked is None and not reason:
            if len(names) == MOST_COLUMNS:
                reason = f"only the first {MOST_COLUMNS} are described by default"
            else:
                reason = _names_customers(customers.column(name), code=name in categorical)
        if reason:
            reasons[name] = reason
        else:
            names.append(name)
    return names, reasons


def categories_of(column: pd.Series) -> pd.Series:
    """Convert a column of codes to text, ``1.0`` as ``1``; missing values stay missing."""
    if not is_numeric_dtype(column):
        return column
    known = column.dropna()
    if (known == known.round()).all():
        known = known.astype("int64")
    return known.astype("str").reindex(column.index)


def _names_customers(column: pd.Series, *, code: bool) -> str:
    if is_numeric_dtype(column) and not code:
        return ""
    values, most = int(column.nunique()), min(MOST_CATEGORIES, len(column) // 2)
    if values <= most:
        return ""
    return f"{values:,} different values; at most {most} are described by default"
