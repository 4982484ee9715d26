"""The logged model: finds the segments of new customers where this project is not installed.

MLflow copies this file into the logged model ("models from code") and runs it when the model is
loaded, so it imports nothing from this package and ends with ``set_model``. The logged model also
holds the fitted pipeline (`PIPELINE_FILE`) and a description of its columns and segments
(`SEGMENTS_FILE`), whose format is defined only here.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import pandas as pd
import skops.io
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from numpy.typing import NDArray

PIPELINE_FILE = "pipeline.skops"
SEGMENTS_FILE = "segments.json"
# Squares of larger numbers overflow and every distance would be infinite.
LARGEST = 1e150
SHOWN = 3
#: Rows whose distances to all centres are held in memory at once.
ROWS = 1 << 16


class InputColumn(TypedDict):
    """A column the model needs.

    `categories` are those seen in training (all text or all numbers); a column without them is
    numeric, and its numbers are finite and greater than `above`.
    """

    name: str
    categories: NotRequired[list[str | float]]
    above: NotRequired[float]


class Segments(NamedTuple):
    """Content of `SEGMENTS_FILE`; ids, names and radii are in the order of the cluster index.

    `radius` is the 99th percentile of the training customers' distance to the centre. `reference`
    describes the training customers, see `segmentation.evaluation.drift.reference`.
    """

    columns: list[InputColumn]
    ids: tuple[int, ...]
    names: tuple[str, ...]
    radius: tuple[float, ...]
    reference: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> Segments:
        """Read the file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        segments = content["segments"]
        return cls(
            columns=content["columns"],
            ids=tuple(int(segment["id"]) for segment in segments),
            names=tuple(str(segment["name"]) for segment in segments),
            radius=tuple(float(segment["radius"]) for segment in segments),
            reference=content.get("reference"),
        )

    def write(self, path: Path) -> None:
        """Write the file."""
        segments = zip(self.ids, self.names, self.radius, strict=True)
        content: dict[str, Any] = {
            "columns": self.columns,
            "segments": [
                {"id": id_, "name": name, "radius": radius} for id_, name, radius in segments
            ],
        }
        if self.reference is not None:
            content["reference"] = self.reference
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


class Fault(NamedTuple):
    """A problem in a column; `bad` marks the wrong rows, None if the column itself is wrong."""

    column: str
    wanted: str
    bad: NDArray[np.bool_] | None
    message: str


class SegmentModel(PythonModel):
    """Pipeline and segments of one segmentation; see `predict`."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the files of the logged model."""
        self.read(Path(context.artifacts["pipeline"]), Path(context.artifacts["segments"]))

    def read(self, pipeline: Path, segments: Path) -> SegmentModel:
        """Read the pipeline (skops format) and the `Segments`; return the model itself."""
        self.pipeline = skops.io.load(pipeline)
        known = Segments.read(segments)
        self.columns, self.reference = known.columns, known.reference
        self.segment_ids = np.array(known.ids, dtype=np.int64)
        self.segment_names = np.array(known.names, dtype=object)
        self.radius = np.array(known.radius, dtype=np.float64)
        return self

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Predict the segment of each customer.

        Parameters
        ----------
        context
            Part of MLflow's interface; not used. (``mlflow.pyfunc.load_model`` returns an object
            whose ``predict`` takes the customers and, optionally, ``params``.)
        model_input : DataFrame of n rows
            Holds at least the columns the model was trained on, in their original units and in any
            order. Numbers may be integers, floats, nullable, or text that reads as a number.
        params : dict, optional
            ``{"details": True}`` adds the columns that `assign` calls details.

        Returns
        -------
        DataFrame of n rows
            Same index as the input; columns ``segment`` (int), ``segment_name`` (str) and
            ``distance`` (float, Euclidean, to the centre of the segment in the scaled space).

        Raises
        ------
        MlflowException
            (INVALID_PARAMETER_VALUE, HTTP 400 from a scoring server.) A column is missing, a value
            is not a finite number or is too small for log1p, or a category was not seen in
            training. The message names the column, the rows and the allowed values.
        """
        customers, faults = self.check(model_input)
        if faults:
            raise MlflowException.invalid_parameter_value("; ".join(one.message for one in faults))
        answer, measured = self.assign(customers, details=bool((params or {}).get("details")))
        if not measured.all():
            far = answer.index[~measured]
            raise MlflowException.invalid_parameter_value(
                f"values too far from the training data to measure a distance in {len(far)} of "
                f"{len(answer)} rows (index {', '.join(map(repr, far[:SHOWN]))})"
            )
        return answer

    def check(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, list[Fault]]:
        """Return the model's columns, with numbers as float64, and all faults in them."""
        checked: dict[str, pd.Series] = {}
        faults: list[Fault] = []
        for column in self.columns:
            name, allowed = column["name"], column.get("categories")
            if name not in frame.columns:
                faults.append(Fault(name, "", None, f"column '{name}' is missing"))
                continue
            given = frame[name]
            if isinstance(given, pd.DataFrame):
                times = f"column '{name}' appears {given.shape[1]} times"
                faults.append(Fault(name, "", None, times))
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
                message = f"column '{name}' must hold {wanted}; {_where(given, bad)}"
                faults.append(Fault(name, wanted, bad, message))
        return pd.DataFrame(checked, index=frame.index), faults

    def assign(
        self, customers: pd.DataFrame, *, details: bool = False
    ) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
        """Assign a segment to each checked customer.

        Parameters
        ----------
        customers : DataFrame of n rows
            From `check`, without faults.
        details : bool
            Also return ``second_segment`` (int, the nearest other segment; missing if there is only
            one segment), ``margin`` (float from 0, midway between two segments, to 1, at the
            centre: the distance to the second centre minus the distance to the own centre, divided
            by their sum) and ``in_range`` (bool: no farther from the centre than 99 % of the
            segment's training customers).

        Returns
        -------
        DataFrame of n rows, and an ndarray of n bool
            The answer, and the rows for which it is valid: values may be so far from the training
            data that their distance is not finite.
        """
        n, k = len(customers), len(self.segment_ids)
        measured = np.ones(n, dtype=bool)
        index, second = np.zeros(n, dtype=np.intp), np.zeros(n, dtype=np.intp)
        distance, other = np.zeros(n), np.full(n, np.nan)
        for start in range(0, n, ROWS):
            rows = slice(start, start + ROWS)
            # numpy would print a warning for a value that overflows; the caller reports it better.
            with np.errstate(all="ignore"):
                Z = np.asarray(self.pipeline[:-1].transform(customers.iloc[rows]), dtype=float)
                measured[rows] = np.isfinite(np.square(Z).sum(axis=1))
            Z[~measured[rows]] = 0
            kmeans = self.pipeline[-1]
            centers = kmeans.cluster_centers_
            index[rows] = kmeans.predict(Z)
            distance[rows] = np.linalg.norm(Z - centers[index[rows]], axis=1)
            if details and k > 1:
                distances = kmeans.transform(Z)
                distances[np.arange(len(Z)), index[rows]] = np.inf
                second[rows] = distances.argmin(axis=1)
                # Midway between two centres, rounding may make the second one appear nearer.
                other[rows] = np.maximum(
                    np.linalg.norm(Z - centers[second[rows]], axis=1), distance[rows]
                )
        answer = pd.DataFrame(
            {
                "segment": self.segment_ids[index],
                "segment_name": self.segment_names[index],
                "distance": distance,
            },
            index=customers.index,
        )
        if details:
            ids = pd.array(self.segment_ids[second], dtype="Int64")
            if k == 1:
                ids[:] = pd.NA
            answer["second_segment"] = ids
            total = other + distance
            # Both are 0 only if two centres coincide: then the segments cannot be distinguished.
            answer["margin"] = (other - distance) / np.where(total == 0, 1.0, total)
            answer["in_range"] = distance <= self.radius[index]
        return answer, measured


def _numbers(column: pd.Series, lowest: float) -> tuple[pd.Series, NDArray[np.bool_]]:
    """Return the column as float64, and a mask of values that are not numbers above `lowest`."""
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
    """Return the column with the categories as trained, and a mask of unknown values."""
    if all(isinstance(category, str) for category in allowed):
        known = column.astype(object)
    else:
        known, _ = _numbers(column, -LARGEST)
    return known, ~known.isin(list(allowed)).to_numpy()


def _where(column: pd.Series, bad: NDArray[np.bool_]) -> str:
    """Describe how many rows are wrong, with the index and value of the first ones."""
    rows = column[bad].iloc[:SHOWN]
    values = ", ".join(f"index {row!r}: {reprlib.repr(value)}" for row, value in rows.items())
    return f"{bad.sum()} of {len(bad)} rows do not ({values}{', …' if bad.sum() > SHOWN else ''})"


set_model(SegmentModel())
