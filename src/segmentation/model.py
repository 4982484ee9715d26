"""The model that is logged: names the segment of new customers where this project is not installed.

MLflow copies this one file into the logged model ("models from code") and runs it when the model
is loaded, so it imports nothing of the package and ends with ``set_model``. Beside it lie the
fitted pipeline (``pipeline.skops``) and the names (``segments.json``) that
`segmentation.flavor` wrote.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

# Squares of larger numbers overflow and every distance would be infinite.
LARGEST = 1e150
SHOWN = 3


class SegmentModel(PythonModel):
    """Pipeline and names of one segmentation; see `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the pipeline and the names from the model's folder."""
        self.pipeline = skops.io.load(context.artifacts["pipeline"])
        names = json.loads(Path(context.artifacts["segments"]).read_text(encoding="utf-8"))
        self.columns: list[dict[str, Any]] = names["columns"]
        self.segment_ids = np.array([one["id"] for one in names["segments"]], dtype=np.int64)
        self.segment_names = np.array([one["name"] for one in names["segments"]], dtype=object)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Name the segment of each customer.

        Parameters
        ----------
        context, params
            Part of MLflow's interface; not used. (``mlflow.pyfunc.load_model`` returns an object
            whose ``predict`` takes the customers alone.)
        model_input : DataFrame of n rows
            Holds at least the columns the model was trained on, in the customers' own units, in
            any order. Numbers may be integers, floats, nullable or text that reads as a number.

        Returns
        -------
        DataFrame of n rows
            Same index as the input; columns ``segment`` (int), ``segment_name`` (str) and
            ``distance`` (float, Euclidean, to the centre of the segment in the scaled space).

        Raises
        ------
        MlflowException
            (INVALID_PARAMETER_VALUE, HTTP 400 of a scoring server.) A column is missing, a value is
            no finite number or too small for log1p, or a category was not seen in training; the
            message names column, rows and what is allowed.
        """
        customers = self._checked(model_input)
        if len(customers) == 0:  # scikit-learn refuses to predict nothing
            index, distance = np.empty(0, dtype=np.int64), np.empty(0)
        else:
            Z = self._encoded(customers)
            kmeans = self.pipeline[-1]
            index = kmeans.predict(Z)
            distance = np.linalg.norm(Z - kmeans.cluster_centers_[index], axis=1)
        return pd.DataFrame(
            {
                "segment": self.segment_ids[index],
                "segment_name": self.segment_names[index],
                "distance": distance,
            },
            index=model_input.index,
        )

    def _checked(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Only the model's columns, numbers as float64, or one error with all that is wrong."""
        checked: dict[str, pd.Series] = {}
        problems: list[str] = []
        for column in self.columns:
            name, allowed = column["name"], column.get("categories")
            if name not in frame.columns:
                problems.append(f"column '{name}' is missing")
                continue
            given = frame[name]
            if isinstance(given, pd.DataFrame):
                problems.append(f"column '{name}' is there {given.shape[1]} times")
                continue
            if allowed is None:
                lowest = column.get("above", -LARGEST)
                checked[name], bad = _numbers(given, lowest)
                wanted = (
                    f"a finite number above {lowest:g}" if "above" in column else "a finite number"
                )
            else:
                checked[name], bad = _known(given, allowed)
                wanted = f"one of the categories seen in training: {', '.join(map(repr, allowed))}"
            if bad.any():
                problems.append(f"column '{name}' must hold {wanted}; {_where(given, bad)}")
        if problems:
            raise MlflowException.invalid_parameter_value("; ".join(problems))
        return pd.DataFrame(checked, index=frame.index)

    def _encoded(self, customers: pd.DataFrame) -> NDArray[np.float64]:
        """The customers in the scaled space, shape (n, d)."""
        # A value that overflows makes numpy warn on the terminal; the error below says it better.
        with np.errstate(all="ignore"):
            Z = np.asarray(self.pipeline[:-1].transform(customers), dtype=np.float64)
            far = pd.Series(~np.isfinite(np.square(Z).sum(axis=1)), index=customers.index)
        if far.any():
            raise MlflowException.invalid_parameter_value(
                f"values too far from the training data to measure a distance in {far.sum()} of "
                f"{len(far)} rows (index {', '.join(map(repr, far.index[far][:SHOWN]))})"
            )
        return Z


def _numbers(column: pd.Series, lowest: float) -> tuple[pd.Series, NDArray[np.bool_]]:
    """The column as float64, and a mask of the values that are not a number above `lowest`."""
    if column.dtype.kind in "mMc":  # dates would silently count as nanoseconds
        return column, np.ones(len(column), dtype=bool)
    try:
        numbers = pd.to_numeric(column, errors="coerce")
    except OverflowError:  # an integer of more than 308 digits; as text it reads as infinite
        numbers = pd.to_numeric(column.astype(str), errors="coerce")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    good = (values > lowest) & (values < LARGEST)
    return pd.Series(values, index=column.index), ~good


def _known(
    column: pd.Series, allowed: Sequence[str | float]
) -> tuple[pd.Series, NDArray[np.bool_]]:
    """The column with the categories as trained, and a mask of the values that are none."""
    if all(isinstance(category, str) for category in allowed):
        known = column.astype(object)
    else:
        known, _ = _numbers(column, -LARGEST)
    return known, ~known.isin(list(allowed)).to_numpy()


def _where(column: pd.Series, bad: NDArray[np.bool_]) -> str:
    """How many rows are wrong, the first of them and what they hold."""
    rows = column[bad].iloc[:SHOWN]
    values = ", ".join(f"index {row!r}: {reprlib.repr(value)}" for row, value in rows.items())
    return f"{bad.sum()} of {len(bad)} rows do not ({values}{', …' if bad.sum() > SHOWN else ''})"


set_model(SegmentModel())
