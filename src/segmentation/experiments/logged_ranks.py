"""Write the ranking to the runs, so that the MLflow UI shows them in the same order.

A run gets three metrics: `RANK`, the place of its answer among the answers on its data; `ORDER`,
its line in the ranking of all data sets, the newest first, which the saved view sorts by; and
`SWEEP_RANK`, the place of its answer within its sweep. What a run has is not written again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from mlflow.entities import Metric

from segmentation.experiments import ranking
from segmentation.tracking import runs, view
from segmentation.tracking.run_metrics import ORDER, RANK, SWEEP_RANK
from segmentation.tracking.store import Store, store_errors

#: Number of runs, from the first line of the ranking, that get these metrics.
RANKED_RUNS = 200
#: Tag of the runs further down.
BELOW_TAG = RANK


@dataclass(frozen=True)
class _Change:
    """What to write to a run: metrics, and `BELOW_TAG` (None: leave it; "": remove it)."""

    run_id: str
    metrics: Mapping[str, int]
    below: str | None = None


def log_all(store: Store, ranked: pd.DataFrame, *, most: int = RANKED_RUNS) -> None:
    """Write the ranking of all runs of an experiment.

    Parameters
    ----------
    store : Store
    ranked : DataFrame
        All finished runs of the experiment in the default order of
        `segmentation.experiments.ranking.rank`.
    most : int
        Number of runs that get metrics, and of runs that are marked in one call as being further
        down: in a large store made by an earlier version, later calls mark the rest.

    Raises
    ------
    TrackingError
        The store refused a write; the runs after it are not written.
    """
    with store_errors(store.uri):
        view.upgrade(store.client, store.experiment_id)
        changes = [*_changes(ranked, most)]
        marks = [change for change in changes if not change.metrics and change.below][:most]
        kept = [change for change in changes if change.metrics or not change.below]
        _write(store, [*_joined(kept, _missing_sweep_ranks(ranked, most)), *marks])


def log_sweep(store: Store, ranked: pd.DataFrame, *, most: int = RANKED_RUNS) -> None:
    """Write the ranks of a sweep's runs within the sweep.

    Parameters
    ----------
    store : Store
    ranked : DataFrame
        The runs of the sweep in the default order.
    most : int
        Number of runs that get the metric.

    Raises
    ------
    TrackingError
        As for `log_all`.
    """
    with store_errors(store.uri):
        _write(store, _sweep_changes(ranked, most))


def log_new(
    store: Store,
    new: Sequence[Mapping[str, Any]],
    *,
    sweep: pd.DataFrame | None = None,
    most: int = RANKED_RUNS,
) -> None:
    """Write the ranks of new runs, reading only the runs that have a rank so far.

    Parameters
    ----------
    store : Store
    new : sequence of mapping
        The new runs, as rows of `segmentation.tracking.runs.finished_runs`.
    sweep : DataFrame, optional
        The ranking of the sweep they belong to. Then the runs they displace are rewritten as well,
        and so are all runs and the view of a store made by an earlier version. A single run only
        gets its own place.
    most : int
        Number of runs that have a rank.

    Raises
    ------
    TrackingError
        As for `log_all`.
    """
    with store_errors(store.uri):
        if sweep is not None and view.upgrade(store.client, store.experiment_id):
            # An earlier version made the store: none of its runs has a rank.
            log_all(store, ranking.rank(runs.finished_runs(store)), most=most)
            return
        rows = {row["run_id"]: row for row in [*new, *runs.first_ranked(store, most)]}
        changes = _changes(ranking.rank(pd.DataFrame([*rows.values()])), most)
        if sweep is None:
            own = {row["run_id"] for row in new}
            _write(store, [change for change in changes if change.run_id in own])
        else:
            _write(store, _joined(changes, _sweep_changes(sweep, most)))


def _changes(ranked: pd.DataFrame, most: int) -> Iterator[_Change]:
    """Yield what the runs do not have yet: places, or the mark of those further down."""
    columns = ["run_id", "rank", *runs.LOGGED_RANKS.values(), runs.LOGGED_BELOW]
    for line, row in enumerate(ranked[columns].to_dict("records"), 1):
        run_id, places = str(row["run_id"]), {RANK: int(row["rank"]), ORDER: line}
        is_marked = isinstance(row[runs.LOGGED_BELOW], str)
        if line <= most:
            new = {name: place for name, place in places.items() if row[_logged(name)] != place}
            if new or is_marked:
                yield _Change(run_id, new, "" if is_marked else None)
        elif row[_logged(ORDER)] <= most:
            # MLflow removes no metric. Without this the run would stay among the first.
            yield _Change(run_id, places, f"below {most}")
        elif not is_marked:
            yield _Change(run_id, {}, f"below {most}")


def _logged(metric: str) -> str:
    return runs.LOGGED_RANKS[metric]


def _sweep_changes(ranked: pd.DataFrame, most: int) -> list[_Change]:
    rows = ranked.head(most)[["run_id", "rank", _logged(SWEEP_RANK)]].to_dict("records")
    return [
        _Change(str(row["run_id"]), {SWEEP_RANK: int(row["rank"])})
        for row in rows
        if row["rank"] != row[_logged(SWEEP_RANK)]
    ]


def _missing_sweep_ranks(ranked: pd.DataFrame, most: int) -> Iterator[_Change]:
    """Yield the ranks within sweeps that ended without writing them, for the first runs."""
    first = ranked.head(most)
    missing = first[_logged(SWEEP_RANK)].isna() & first["sweep_id"].notna()
    of_sweeps = ranked[ranked["sweep_id"].isin(first.loc[missing, "sweep_id"])]
    shown = {*first["run_id"]}
    for _, group in of_sweeps.groupby("sweep_id"):
        changes = _sweep_changes(ranking.rank(group.drop(columns=["rank", "same_as"])), most)
        yield from (change for change in changes if change.run_id in shown)


def _joined(changes: Iterable[_Change], more: Iterable[_Change]) -> list[_Change]:
    """Join the changes of each run, so that it is written once."""
    joined = {change.run_id: change for change in changes}
    for change in more:
        known = joined.get(change.run_id, change)
        joined[change.run_id] = replace(known, metrics={**known.metrics, **change.metrics})
    return [*joined.values()]


def _write(store: Store, changes: Iterable[_Change]) -> None:
    now = int(time.time() * 1000)
    for change in changes:
        if change.metrics:
            metrics = [Metric(name, value, now, 0) for name, value in change.metrics.items()]
            store.client.log_batch(change.run_id, metrics)
        if change.below:
            # Half the time of a batch, and the most frequent change in a large store.
            store.client.set_tag(change.run_id, BELOW_TAG, change.below)
        elif change.below == "":
            store.client.delete_tag(change.run_id, BELOW_TAG)
