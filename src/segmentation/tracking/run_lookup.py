"""Find runs by id, beginning of an id or name, and read what a comparison of two needs."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.artifacts
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from segmentation.errors import TrackingError
from segmentation.evaluation.partition import segments_of
from segmentation.tracking.runs import (
    FINISHED,
    SEGMENTS_FILE,
    customer_segments,
    local_path,
    logged_table,
    restoring,
    row_of,
    stored_config,
)
from segmentation.tracking.store import Store, store_errors

ID_LENGTH = 32
#: File of a model that pins the versions of the packages it needs.
REQUIREMENTS = "requirements.txt"
#: Ids are shown with at least as many characters; all that share them get more.
SHORT_ID = 8
#: At most this many runs are named in a message.
MOST_CANDIDATES = 6
_REQUIRED = ("segment", "name", "customers", "share")


@dataclass(frozen=True)
class LoggedSegmentation:
    """What a finished run logged about its segments.

    Attributes
    ----------
    row : mapping
        See `segmentation.tracking.runs.row_of`.
    config : mapping or None
        The config it was made from; None if it was logged from a notebook.
    packages : mapping of str to str
        Versions of the packages its model needs; empty if they cannot be read.
    population : int
        Number of customers.
    segments : DataFrame
        The table `segmentation.tracking.runs.SEGMENTS_FILE`, one row per segment.
    customers : Series or None
        Segment of each customer by id, as text; None if they were not logged.
    sample : Series or None
        Segments of up to 2,000 customers whose ids are not known. Samples of the same name are of
        the same customers in the same order. None if the run does not have the tag.
    """

    row: Mapping[str, Any]
    config: Mapping[str, Any] | None
    packages: Mapping[str, str]
    population: int
    segments: pd.DataFrame
    customers: pd.Series | None
    sample: pd.Series | None = None


def find_segmentation(store: Store, given: str) -> Run:
    """Return the finished run with this id, beginning of an id or name.

    Parameters
    ----------
    store : Store
    given : str
        A whole id may belong to any experiment; the others are looked up in that of `store`.

    Raises
    ------
    TrackingError
        No run or several runs match, or the run has no segmentation.
    """
    with store_errors(store.uri):
        found = _matching(store, given)
        usable = [run for run in found if _obstacle(run) is None]
        if len(usable) == 1:
            return usable[0]
        if usable:
            raise TrackingError(
                f"runs: {given!r} matches {len(usable)} runs. Give more characters of the id: "
                f"{_listed(usable)}."
            )
        if found:
            raise TrackingError(f"runs: {given!r} {_obstacle(found[0])}.")
        newest = store.client.search_runs(
            [store.experiment_id],
            FINISHED,
            max_results=MOST_CANDIDATES,
        )
    known = (
        f"The newest finished runs: {_listed(newest)}." if newest else "It has no finished runs."
    )
    raise TrackingError(
        f"runs: no run of experiment {store.experiment!r} has an id that begins with {given!r}, "
        f"or that name. {known}"
    )


def read_segmentation(store: Store, run: Run) -> LoggedSegmentation:
    """Read the segments, customers and config of a run from `find_segmentation`.

    Raises
    ------
    TrackingError
        Its table of segments cannot be read.
    """
    run_id, artifacts = str(run.info.run_id), str(run.info.artifact_uri)
    with store_errors(store.uri):
        segments = logged_table(store, run_id, artifacts, SEGMENTS_FILE)
    if segments is None or not {*_REQUIRED} <= {*segments.columns} or segments.empty:
        raise TrackingError(
            f"run {run_id}: its table of segments ({SEGMENTS_FILE}) cannot be read in {artifacts}. "
            "Have its artifacts been moved or deleted?"
        )
    config = None
    with contextlib.suppress(TrackingError):
        config = stored_config(store, run_id)
    customers = customer_segments(store, run_id, artifacts)
    # A file that others have changed may name other segments, or a customer twice.
    if customers is not None and not (
        customers.index.is_unique and customers.isin(segments["segment"]).all()
    ):
        customers = None
    return LoggedSegmentation(
        row=row_of(run),
        config=config if isinstance(config, Mapping) else None,
        packages=_packages(store, run),
        population=int(run.data.params.get("customers", segments["customers"].sum())),
        segments=segments,
        customers=customers,
        sample=_sample(run, segments),
    )


def short_ids(runs: Sequence[str]) -> list[str]:
    """Return the beginnings of ids, long enough to tell them apart.

    Examples
    --------
    >>> short_ids(["0123456789ab", "0123456789cd"])
    ['0123456789a', '0123456789c']
    """
    length = SHORT_ID
    while length < ID_LENGTH and len({run[:length] for run in runs}) < len({*runs}):
        length += 1
    return [run[:length] for run in runs]


def _matching(store: Store, given: str) -> list[Run]:
    """Return the runs of any status whose id begins with `given` or whose name it is."""
    conditions = []
    if re.fullmatch(r"[0-9a-fA-F]+", given):
        if len(given) == ID_LENGTH:
            with contextlib.suppress(MlflowException):
                return [store.client.get_run(given.lower())]
        conditions.append(f"attributes.run_id LIKE '{given.lower()}%'")
    quote = "'" if '"' in given else '"'
    if given and quote not in given:
        conditions.append(f"attributes.run_name = {quote}{given}{quote}")
    found = {}
    for condition in conditions:
        for run in store.client.search_runs([store.experiment_id], condition):
            found[run.info.run_id] = run
    return list(found.values())


def _obstacle(run: Run) -> str | None:
    """Say why a run cannot be compared; None if it can."""
    if run.info.lifecycle_stage != "active":
        return f"is a deleted run; restore it with `{restoring(str(run.info.run_id))}`"
    if run.info.status != "FINISHED":
        return f"is a run that is {run.info.status}: only finished runs can be compared"
    if not run.data.metrics.get("k"):
        return (
            "is a run without segments, such as the parent of a sweep; `segment compare` lists "
            "those that have some"
        )
    return None


def _listed(runs: Sequence[Run]) -> str:
    shown = runs[:MOST_CANDIDATES]
    ids = short_ids([str(run.info.run_id) for run in runs])
    texts = [f"{id_} ({run.info.run_name})" for id_, run in zip(ids, shown, strict=False)]
    return ", ".join([*texts, "…"] if len(runs) > len(shown) else texts)


def _sample(run: Run, segments: pd.DataFrame) -> pd.Series | None:
    """Return the segments in the tag ``partition``, named by its key."""
    found = segments_of(run.data.tags.get("partition"))
    if found is None or not set(found[1].tolist()) <= {*segments["segment"]}:
        return None
    return pd.Series(found[1].astype("int64"), name=found[0])


def _packages(store: Store, run: Run) -> dict[str, str]:
    """Return the versions pinned in the requirements of the run's last model."""
    outputs = [] if run.outputs is None else run.outputs.model_outputs
    text = ""
    # Versions are a detail: a run whose model was deleted can be compared all the same.
    with (
        contextlib.suppress(MlflowException, OSError, IndexError),
        tempfile.TemporaryDirectory(prefix="segment-") as scratch,
    ):
        location = str(store.client.get_logged_model(outputs[-1].model_id).artifact_location)
        folder = local_path(store, location)
        if folder is None:
            remote = f"{location}/{REQUIREMENTS}"
            mlflow.artifacts.download_artifacts(
                artifact_uri=remote, dst_path=scratch, tracking_uri=store.uri
            )
        text = Path(folder or scratch, REQUIREMENTS).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)$", text, flags=re.MULTILINE))
