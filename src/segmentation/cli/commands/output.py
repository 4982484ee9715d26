"""The last lines of a command: what was found, where to look, what to do next."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pandas as pd

from segmentation.cli.commands.call import Call
from segmentation.config import TrackingConfig
from segmentation.experiments import data_sets, ranking
from segmentation.experiments.advice import advice
from segmentation.tracking.store import Store


def say(line: str) -> None:
    """Print progress to standard error, apart from the results on standard output."""
    print(line, file=sys.stderr, flush=True)


def passing(line: str) -> None:
    """On a terminal, print a line in place of the last passing one; without text, erase that."""
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def ui_hint(store: Store, call: Call, tracking: TrackingConfig) -> str:
    """Return a hint on how to start the UI, if the store is local."""
    return f"   (start the UI with: {call.next('segment ui', tracking)})" if store.is_local else ""


def print_best(
    ranked: pd.DataFrame,
    again: str,
    call: Call,
    tracking: TrackingConfig,
    *,
    report: str | None = None,
    report_of: Callable[[str], str | None] | None = None,
    by: str | None = None,
) -> None:
    """Print what follows a ranking: notes, the first run on each data set, how to show it again.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`.
    again : str
        The command that shows the ranking again.
    call : Call
    tracking : TrackingConfig
        Where the runs are.
    report : str, optional
        Address of the page about all of these runs, if there is one.
    report_of : callable, optional
        Returns the address of a single run's page from that of its artifacts, if there is one.
    by : str, optional
        Sort column, if the order is not the default.
    """
    print()
    for note in advice(ranked, sort=by):
        print(note)
    if ranked["same_as"].notna().any():
        print("Runs marked = give the same segments as the run above them.")
    sets = data_sets.split(ranked)
    for each in sets:
        best = each.runs.iloc[0]
        first = f"First by {by}:" if by else "Best:  "
        run = best["run"] if len(sets) == 1 else f"{best['run']} on {each.name}"
        promote = call.next(f"segment promote run_id={best['run_id']}", tracking)
        print(f"{first} {run}, promote it with: {promote}")
        why = "" if by else ranking.why_first(each.runs)
        if why:
            print(f"Why:    {why}")
        if report_of and (page := report_of(str(best["artifact_uri"]))):
            print(f"Report: {page}")
    if report:
        print(f"Report: {report}")
    print(f"Again:  {again}")
