"""The state of a sweep in one process: its store, what its jobs share, what has finished."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from segmentation.config import FitConfig
from segmentation.experiments import ranking
from segmentation.experiments.read import CustomerTable, RunCustomers, table_key
from segmentation.tracking import runs
from segmentation.tracking.heartbeat import Heartbeat
from segmentation.tracking.identity import code_version
from segmentation.tracking.run_items import DrawnFigures
from segmentation.tracking.store import Store, open_store, store_errors

#: On a busy machine a run becomes visible some time after its end, and clocks may differ.
OVERLAP_MS = 15_000
#: Number of runs seen last that are not read again within the overlap.
SEEN_RUNS = 100


@dataclass(frozen=True)
class SweepJob:
    """The sweep a run belongs to: all that its jobs in other processes need to know.

    Attributes
    ----------
    sweep_id, parent_run_id : str
    has_data_figures : bool
        Whether the parent run has the figures of the data, so that the runs need not.
    total : int
        Number of configurations of the sweep.
    done : int
        Number of configurations finished before the sweep started.
    started : float
        Seconds since the epoch.
    """

    sweep_id: str
    parent_run_id: str
    has_data_figures: bool
    total: int
    done: int
    started: float


@dataclass(frozen=True)
class FinishedJob:
    """What a job reports to the process that waits for it.

    Attributes
    ----------
    line : str
        Its result in one line.
    row : mapping
        Its run, as `segmentation.tracking.runs.finished_runs` would return it.
    """

    line: str
    row: dict[str, Any]


@dataclass
class SweepSession:
    """A sweep as known to one process. A fork starts with the state of its parent.

    Attributes
    ----------
    store : Store
        The store of the parent run.
    job : SweepJob
    table : CustomerTable or None
        The customers of the current job, which most jobs share.
    drawn : dict
        Figures that are the same in all runs, drawn once.
    rows : dict
        The newest finished run of each configuration by `config_hash`, in the order seen.
    until : int or None
        Time of the last query for them minus the overlap, in milliseconds since the epoch.
    report : callable or None
        In a worker process: reports a finished job to the waiting process.
    is_joined : bool
        Whether this process has joined a sweep that another process opened, so that it learns of
        other jobs only through the store.
    heartbeat : Heartbeat or None
        Of the parent run, in the process that opened it.
    """

    store: Store
    job: SweepJob
    table: CustomerTable | None = None
    drawn: DrawnFigures = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    until: int | None = None
    report: Callable[[FinishedJob], None] | None = None
    is_joined: bool = False
    heartbeat: Heartbeat | None = None

    def customers(self, config: FitConfig) -> RunCustomers:
        """Return the customers as a job needs them, read again only if the table has changed."""
        key = table_key(config.data, config.engine, config.seed)
        if self.table is None or self.table.key != key:
            self.table = CustomerTable(key)
        return self.table.of(config)

    def store_of(self, uri: str, experiment: str) -> Store:
        """Return the store a job logs to, which may differ from the parent run's."""
        if (uri, experiment) == (self.store.uri, self.store.experiment):
            return self.store
        return open_store(uri, experiment)

    def look(self) -> None:
        """Query the store for newly finished runs; runs of older code do not count."""
        now = int(time.time() * 1000)
        known = [row["run_id"] for row in [*self.rows.values()][-SEEN_RUNS:]]
        with store_errors(self.store.uri):
            new = runs.newly_finished(
                self.store, self.job.sweep_id, ended_after=self.until, besides=known
            )
        for row in reversed(new):
            if row["code_version"] == code_version():
                self.note(row)
        self.until = now - OVERLAP_MS

    def note(self, row: dict[str, Any]) -> None:
        """Record a finished run, unless a newer one of its configuration is known."""
        if row["start"] >= self.rows.get(row["config_hash"], row)["start"]:
            self.rows.pop(row["config_hash"], None)
            self.rows[row["config_hash"]] = row

    def is_done(self, config_hash: str) -> bool:
        """Return whether a finished run of this configuration is known."""
        if self.until is None:
            self.look()
        return config_hash in self.rows

    def so_far(self) -> tuple[int, str]:
        """Return the number of finished configurations and the name of the best run, or ""."""
        if not self.rows:
            return 0, ""
        rows = list(self.rows.values())
        return len(rows), rows[ranking.first_of(pd.DataFrame(rows))]["run"]

    def ranking(self) -> pd.DataFrame:
        """Return the finished runs, best first; empty if there are none."""
        self.look()
        return ranking.rank(pd.DataFrame(self.rows.values()))
