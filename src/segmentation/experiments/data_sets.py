"""The data sets of an experiment: a ranking for each, and the choice of one."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from segmentation.errors import ConfigError
from segmentation.evaluation.formats import short_digest
from segmentation.experiments import ranking

#: Chooses the data set that was added most recently.
NEWEST = "newest"


@dataclass(frozen=True)
class DataSet:
    """The runs of an experiment on the same customers.

    Attributes
    ----------
    name : str
        File name, beginning of the SHA-256 and number of customers.
    title : str
        `name` and the date of the first run.
    names : frozenset of str
        All names of the data in these runs: the same file may have been renamed.
    runs : DataFrame
        Their rows of the ranking, in its order.
    """

    name: str
    title: str
    names: frozenset[str]
    runs: pd.DataFrame


def title(name: object, digest: object, customers: object) -> str:
    """Name customers so that equal file names with different content can be told apart.

    Examples
    --------
    >>> title("customers.csv", "3f2a9c81d0e4", "1200")
    'customers.csv (3f2a9c81, 1,200 customers)'
    """
    known = [short_digest(digest)] if isinstance(digest, str) and digest else []
    if isinstance(customers, str) and customers.isdigit():
        known.append(f"{int(customers):,} customers")
    shown = name if isinstance(name, str) else "unnamed data"
    return f"{shown} ({', '.join(known)})" if known else shown


def split(ranked: pd.DataFrame) -> list[DataSet]:
    """Return the data sets of a ranking, newest first.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`.
    """
    digests = ranked["data_sha256"].fillna("")
    found = []
    for digest in ranking.data_sets(ranked):
        rows = ranked[digests == digest].reset_index(drop=True)
        newest, first_used = rows.loc[rows["start"].idxmax()], rows["start"].min()
        name = title(newest["data"], digest, newest["customers"])
        found.append(
            DataSet(
                name=name,
                title=f"{name}, first used {first_used:%Y-%m-%d}",
                names=frozenset(rows["data"].dropna()),
                runs=rows,
            )
        )
    return found


def render(ranked: pd.DataFrame, *, form: str, top: int) -> str:
    """Render the first `top` runs of each data set as text.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`.
    form : {"table", "csv", "json", "markdown"}
        As a table, each data set has its own below its title; else all runs are in one.
    top : int
        At least 1.

    Raises
    ------
    ConfigError
        `form` or `top` is not allowed.
    """
    sets = split(ranked)
    if len(sets) < 2 or top < 1 or form not in ranking.FORMATS:
        return ranking.render(ranked, form=form, top=top)
    if form != "table":
        best = ranked.groupby(ranked["data_sha256"].fillna(""), sort=False).head(top)
        return ranking.render(best, form=form, top=len(best))
    tables = [ranking.render(each.runs, form=form, top=top) for each in sets]
    return "\n\n".join(f"{each.title}\n{table}" for each, table in zip(sets, tables, strict=True))


def choose(ranked: pd.DataFrame, wanted: str) -> DataSet:
    """Return the data set with this name, or the newest.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`, at least one run.
    wanted : str
        `NEWEST`, or the name of the data.

    Raises
    ------
    ConfigError
        No data set, or more than one, has this name.
    """
    sets = split(ranked)
    if wanted == NEWEST:
        return sets[0]
    named = [each for each in sets if wanted in each.names]
    if len(named) == 1:
        return named[0]
    if named:
        raise ConfigError(
            f"data={wanted}: {len(named)} data sets have this name: "
            f"{'; '.join(each.title for each in named)}. Name a run with run_id=…, or take the "
            f"newest data with data={NEWEST}."
        )
    allowed = [NEWEST, *dict.fromkeys(name for each in sets for name in sorted(each.names))]
    raise ConfigError(
        f"data={wanted}: no finished run used data of this name. Allowed: {', '.join(allowed)}."
    )
