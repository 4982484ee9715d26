"""The state of a sweep in one process: where it logs, what its jobs share, what has finished."""

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
from segmentation.tracking.identity import code_version
from segmentation.tracking.run_items import DrawnFigures
from segmentation.tracking.store import Store, open_store, store_errors

#: A run is seen a while after it ended, on a busy machine, and another's clock may be late.
OVERLAP_MS = 15_000
#: So many of the runs seen last are not read again in that time.
SEEN_RUNS = 100


@dataclass(frozen=True)
class SweepJob:
    """The sweep a run belongs to; all that its jobs in other processes need to know of it.

    Attributes
    ----------
    sweep_id, parent_run_id : str
    has_data_figures : bool
        The parent run shows the figures of the data, so that the runs need not.
    total : int
        Configurations of the sweep.
    done : int
        Those that were finished before it started.
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
    """What a job tells the process that waits for it.

    Attributes
    ----------
    line : str
        What it found, in a line.
    row : mapping
        Its run, as `segmentation.tracking.runs.finished_runs` would give it.
    """

    line: str
    row: dict[str, Any]


@dataclass
class SweepSession:
    """A sweep, as far as one process knows it. A fork begins with what its parent knew.

    Attributes
    ----------
    store : Store
        Where its parent run is.
    job : SweepJob
    table : CustomerTable or None
        The customers of the job at work, which most jobs share.
    drawn : dict
        Figures that are the same in all runs, drawn once.
    rows : dict
        The newest finished run of each configuration by `config_hash`, in the order they were seen.
    until : int or None
        When the store was asked for them last, less the overlap; milliseconds since the epoch.
    report : callable or None
        In a process that works for another: tells that one of a finished job.
    is_joined : bool
        Whether this process has joined a sweep that another has opened and hears of other jobs
        through the store alone.
    """

    store: Store
    job: SweepJob
    table: CustomerTable | None = None
    drawn: DrawnFigures = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    until: int | None = None
    report: Callable[[FinishedJob], None] | None = None
    is_joined: bool = False

    def customers(self, config: FitConfig) -> RunCustomers:
        """What a job needs of the customers; read here only where it has others than the last."""
        key = table_key(config.data, config.engine, config.seed)
        if self.table is None or self.table.key != key:
            self.table = CustomerTable(key)
        return self.table.of(config)

    def store_of(self, uri: str, experiment: str) -> Store:
        """The store a job logs to, which may be another than that of the parent run."""
        if (uri, experiment) == (self.store.uri, self.store.experiment):
            return self.store
        return open_store(uri, experiment)

    def look(self) -> None:
        """Ask the store what has finished since the last look; runs of older code do not count."""
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
        """Take a finished run down, unless a newer one of its configuration is known."""
        if row["start"] >= self.rows.get(row["config_hash"], row)["start"]:
            self.rows.pop(row["config_hash"], None)
            self.rows[row["config_hash"]] = row

    def is_done(self, config_hash: str) -> bool:
        """Whether a finished run of this configuration is known."""
        if self.until is None:
            self.look()
        return config_hash in self.rows

    def so_far(self) -> tuple[int, str]:
        """How many configurations have finished, and the name of the best run ("" without any)."""
        rows = self.rows.values()
        return len(rows), max(rows, key=ranking.merit)["run"] if rows else ""

    def ranking(self) -> pd.DataFrame:
        """The finished runs, best first; empty when there is none."""
        self.look()
        return ranking.rank(pd.DataFrame(self.rows.values()))
