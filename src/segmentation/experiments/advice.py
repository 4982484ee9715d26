"""Notes on reading a ranking."""

from __future__ import annotations

import pandas as pd

from segmentation.evaluation.metrics import OWN, TABLE
from segmentation.experiments import data_sets, merit
from segmentation.experiments.ranking_order import ORDER
from segmentation.tracking.run_metrics import EVIDENCE_VERSION, columns


def advice(ranked: pd.DataFrame, *, sort: str | None = None) -> list[str]:
    """Return notes on a ranking: the first run on each data set, its order, comparability.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`.
    sort : str, optional
        The column it is sorted by, if that is not the default order.
    """
    notes = []
    sets = data_sets.split(ranked)
    for each in sets:
        first = "the first of these runs" if len(sets) == 1 else f"the first run on {each.name}"
        if each.runs["structure"].iloc[0] == "untested":
            notes.append(
                f"Cluster structure was not tested in {first}, so its rank says little: "
                "fit with choice=evidence before you promote it."
            )
        careful = each.runs["careful"].iloc[0]
        if isinstance(careful, str):
            notes.append(f"Be careful with {first}: {careful}.")
    earlier = int((ranked["gap"].notna() & (ranked["evidence_version"] != EVIDENCE_VERSION)).sum())
    if earlier:
        notes.append(
            f"{earlier} of these runs were made by an earlier version: their gap does not count, "
            "since it was measured against other data, and equal segments are not recognised. Run "
            "them again to rank them with the others."
        )
    if ranked[["features", "scaling"]].drop_duplicates().shape[0] > 1:
        order = f"Sorted by {sort}"
        if sort is None:
            borders = ", ".join(f"{border:g}" for border in merit.BORDERS)
            order = (
                f"Ranked by {ORDER}. Stability counts in bands at first (borders {borders}, "
                "applied to the upper end of its interval)"
            )
        own = [column.name for column in columns(TABLE) if column.scope == OWN]
        notes.append(
            f"{order}. The columns {', '.join(own)} are measured in each run's own space: "
            "compare them only between runs with the same features and scaling. The ref. columns "
            "are measured in one space for all runs, which favours runs that use its columns."
        )
    warned = int(ranked["careful"].notna().sum())
    if warned:
        has = "run has" if warned == 1 else "runs have"
        notes.append(f"{warned} {has} a warning, marked as careful: the run's report says which.")
    if len(sets) > 1:
        notes.append(
            f"These runs used {len(sets)} data sets: each is ranked by itself, since runs on "
            "different customers cannot be compared."
        )
    return notes
