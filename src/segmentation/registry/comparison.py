"""Compare a challenger and a champion on the same customers, without logging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score
from sklearn.pipeline import Pipeline

from segmentation.clustering import ENGINES
from segmentation.clustering.base import Clustering
from segmentation.data.customers import Customers
from segmentation.errors import SegmentationError
from segmentation.evaluation.measure_settings import SILHOUETTES
from segmentation.evaluation.stability import Stability, bootstrap_stability
from segmentation.experiments.read import CustomerTable
from segmentation.model.model_files import ModelFolder
from segmentation.model.segment_model import ROWS, SegmentModel
from segmentation.registry import likeness
from segmentation.registry.likeness import Overlap
from segmentation.selection.cluster_tendency import Gate, find_structure

#: The structure tests use at most 5,000 customers; fits of many more would be wasted.
STRUCTURE_ROWS = 10_000


@dataclass(frozen=True)
class Compared:
    """Both models' segments of the challenger's customers; `problem` says why there are none.

    Attributes
    ----------
    challenger, champion : ndarray of shape (n,) or None
        The challenger's cluster indices and the champion's segment ids.
    frame : DataFrame of n customers or None
    columns : tuple of str
        Columns of both models.
    champion_single : bool
        Whether the champion has one segment.
    differs : bool
        False if both give every customer the same segment and distance.
    overlap : Overlap or None
        None if there is no champion or it could not label the customers.
    problem : str or None
    """

    challenger: NDArray[np.int64] | None = None
    champion: NDArray[np.int64] | None = None
    frame: pd.DataFrame | None = None
    columns: tuple[str, ...] = ()
    champion_single: bool = False
    differs: bool = True
    overlap: Overlap | None = None
    problem: str | None = None


def compare(
    table: CustomerTable | None,
    customers: Customers | None,
    problem: str | None,
    folder: ModelFolder,
    old: ModelFolder | None,
) -> Compared:
    """Label the challenger's customers with both models.

    Parameters
    ----------
    table, customers
        The challenger's table and its customers, both None if they cannot be read.
    problem : str or None
        Why they cannot be read.
    folder, old : ModelFolder
        The challenger, and the champion if there is one.
    """
    if table is None or customers is None:
        return Compared(problem=problem)
    answer = folder.answers(customers.frame)
    index = folder.indices(answer["segment"])
    if old is None:
        return Compared(challenger=index, frame=customers.frame)
    try:
        frame, asked = customers.frame, answer
        if any(column not in frame for column in old.columns):
            both = tuple(dict.fromkeys((*folder.columns, *old.columns)))
            frame = table.customers(both).frame
            asked = folder.answers(frame)
        champion, new = old.load(), folder.indices(asked["segment"])
        theirs = label(champion, frame)
        found = overlap(champion, frame, theirs, new, k=len(folder.ids))
    except Exception as error:
        # Whatever the reason, an id must not be given without evidence. The challenger's own
        # numbers are still known; only the comparison is missing.
        known = isinstance(error, SegmentationError | MlflowException)
        reason = str(getattr(error, "message", error)) if known else repr(error)
        text = f"the champion cannot assign these customers to segments ({reason})"
        return Compared(challenger=index, frame=customers.frame, problem=text)
    groups = found.counts.to_numpy() > 0
    groups = groups[groups.any(axis=1)][:, groups.any(axis=0)]
    same = (groups.sum(axis=0) == 1).all() and (groups.sum(axis=1) == 1).all()
    near = np.allclose(asked["distance"], theirs["distance"], rtol=1e-9, atol=1e-12)
    return Compared(
        challenger=new,
        champion=theirs["segment"].to_numpy(),
        frame=frame,
        columns=(*folder.columns, *old.columns),
        champion_single=len(old.ids) == 1,
        differs=not (same and near and set(folder.columns) == set(old.columns)),
        overlap=found,
    )


def label(model: SegmentModel, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the model's answer for the customers, with details.

    Raises
    ------
    MlflowException
        A column is missing, or the model does not accept a value.
    """
    # Its first argument, MLflow's context, is not used.
    return model.predict(None, frame, {"details": True})  # type: ignore[arg-type]


def overlap(
    champion: SegmentModel,
    frame: pd.DataFrame,
    theirs: pd.DataFrame,
    new: NDArray[np.int64],
    *,
    k: int,
) -> Overlap:
    """Count the customers by old and new segment, and measure how far the centres are apart.

    Parameters
    ----------
    champion : SegmentModel
    frame : DataFrame of n customers
    theirs : DataFrame of n rows
        The champion's answer for them, from `label`.
    new : ndarray of shape (n,)
        The challenger's cluster index of each.
    k : int
        Number of new segments.
    """
    centers = np.asarray(champion.pipeline[-1].cluster_centers_, dtype=np.float64)
    return likeness.overlap(
        theirs["segment"].to_numpy(dtype=np.int64),
        theirs["in_range"].to_numpy(dtype=bool),
        new,
        old_ids=[int(segment) for segment in champion.segment_ids],
        k=k,
        distances=cdist(centers, _means(champion, frame, new, k)),
        spacing=likeness.spacings(centers, champion.radius),
    )


def _means(
    model: SegmentModel, frame: pd.DataFrame, groups: NDArray[np.int64], k: int
) -> NDArray[np.float64]:
    """Return the mean of each group of customers in the model's scaled space."""
    customers, _ = model.check(frame)
    sums = np.zeros((k, model.pipeline[-1].cluster_centers_.shape[1]))
    # In blocks, as the model itself: the scaled table may be much larger than the customers'.
    for start in range(0, len(customers), ROWS):
        Z = np.asarray(model.pipeline[:-1].transform(customers.iloc[start : start + ROWS]))
        np.add.at(sums, groups[start : start + ROWS], Z)
    return sums / np.maximum(np.bincount(groups, minlength=k), 1)[:, None]


def reference_space(frame: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.float64]:
    """Return the space for comparing two models: their columns, text one-hot encoded, standardised.

    It uses neither model's own scaling, since each model would look best in its own.

    Parameters
    ----------
    frame : DataFrame of n customers
    columns : sequence of str
        All columns that either model uses; constant ones are left out.

    Returns
    -------
    ndarray of shape (n, columns and categories)
    """
    X = pd.get_dummies(frame[[*dict.fromkeys(columns)]], dtype=float).to_numpy(dtype=np.float64)
    spread = X.std(axis=0)
    return np.asarray((X - X.mean(axis=0))[:, spread > 0] / spread[spread > 0])


def silhouettes(
    X: NDArray[np.float64], *labelings: NDArray[np.int64], seed: int
) -> list[float | None]:
    """Compute the mean silhouette of each labelling; None for a labelling with a single segment.

    Above 10,000 customers, all labellings use the same seeded sample of 10,000.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        From `reference_space`.
    *labelings : ndarrays of shape (n,)
    seed : int
    """
    rows = np.arange(len(X))
    if len(X) > SILHOUETTES.sample:
        rows = np.random.default_rng(seed).choice(len(X), SILHOUETTES.sample, replace=False)
    values: list[float | None] = []
    for labels in labelings:
        found = len(np.unique(labels[rows]))
        measurable = X.shape[1] > 0 and 2 <= found < len(rows)
        values.append(float(silhouette_score(X[rows], labels[rows])) if measurable else None)
    return values


def structure(pipeline: Pipeline, frame: pd.DataFrame, *, k_max: int, seed: int) -> Gate:
    """Test for cluster structure afterwards, for a run that did not test it.

    Above 10,000 customers, a seeded sample of 10,000 is used.

    Parameters
    ----------
    pipeline : Pipeline
        The challenger's; only its features are used.
    frame : DataFrame of n customers
    k_max : int
        The largest k of the run.
    seed : int
    """
    if len(frame) > STRUCTURE_ROWS:
        frame = frame.sample(STRUCTURE_ROWS, random_state=seed)
    Z = _encoded(pipeline, frame)
    distinct = len(np.unique(Z, axis=0))
    ks = range(1, max(1, min(max(k_max, 2), distinct)) + 1)
    clusterings = ENGINES["sklearn"].fit_k_range(Z, list(ks), seed=seed, effort="fast")
    return find_structure(Z, clusterings, seed=seed)


def stability(pipeline: Pipeline, frame: pd.DataFrame, *, seed: int) -> Stability:
    """Compute the bootstrap stability of the segments, for a run that did not compute it."""
    Z = _encoded(pipeline, frame)
    centers = np.asarray(pipeline[-1].cluster_centers_, dtype=np.float64)
    own = Clustering(
        k=len(centers),
        centers=centers,
        wcss=float(pipeline[-1].inertia_),
        starts=(),
        assign=lambda centers: cdist(Z, centers).argmin(axis=1).astype(np.int32),
    )
    return bootstrap_stability(Z, own, seed=seed)


def _encoded(pipeline: Pipeline, frame: pd.DataFrame) -> NDArray[np.float64]:
    return np.ascontiguousarray(pipeline[:-1].transform(frame), dtype=np.float64)
