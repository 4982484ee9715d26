"""The last lines of a command: what was found, where to look, what to do next."""

from __future__ import annotations

import pandas as pd

from segmentation import compare
from segmentation.runs import artifact_file
from segmentation.store import SQLITE, Store


def ui_hint(store: Store) -> str:
    """How to make a link to the UI open, where nothing serves it yet."""
    return "   (start the UI with: segment ui)" if store.uri.startswith(SQLITE) else ""


def print_best(ranked: pd.DataFrame, again: str) -> None:
    """After a ranking: what may be compared, the best run, its report, how to see this again."""
    print()
    for note in compare.advice(ranked):
        print(note)
    best = ranked.iloc[0]
    report = artifact_file(best["artifact_uri"], "report.html")
    print(f"Best:   {best['run']}, promote it with: segment promote run_id={best['run_id']}")
    if report:
        print(f"Report: {report}")
    print(f"Again:  {again}")
