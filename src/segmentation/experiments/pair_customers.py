"""The customers of two runs: who is in which segment of each, and who moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score

from segmentation.data.customers import NUMBERED
from segmentation.tracking.run_lookup import LoggedSegmentation

#: What the runs are called in everything that shows them.
A, B = "A", "B"
#: Number of customers that a `Move` names.
_EXAMPLES = 5


@dataclass(frozen=True)
class Match:
    """A segment of A and its counterpart in B.

    Attributes
    ----------
    a, b : int
        Segment ids.
    customers : int
        Number of customers in both.
    jaccard : float
        Their share of the customers in either; 1 for equal segments.
    """

    a: int
    b: int
    customers: int
    jaccard: float


@dataclass(frozen=True)
class Move:
    """Customers of a segment of A who are not in its counterpart, but in another segment of B.

    Attributes
    ----------
    a, b : int
        Segment ids.
    customers : int
    share : float
        Share of the segment of A.
    examples : tuple of str
        The ids of some of them, if they are known.
    """

    a: int
    b: int
    customers: int
    share: float
    examples: tuple[str, ...]


@dataclass(frozen=True)
class CommonCustomers:
    """The customers in both runs.

    Attributes
    ----------
    labels : DataFrame
        Segments ``A`` and ``B`` of each, indexed by customer id.
    has_ids : bool
        Whether the ids are known; otherwise the index of `labels` counts the customers.
    population : int
        Number of customers in both runs; more than in `labels` if these are a sample.
    counts : DataFrame
        Number of customers; rows are the segments of A, columns those of B.
    only_a, only_b : int
        Number of customers of one run only.
    rand : float
        Adjusted Rand index.
    matches : tuple of Match
        In the order of A's segments.
    moves : tuple of Move
        Largest first.
    """

    labels: pd.DataFrame
    has_ids: bool
    population: int
    counts: pd.DataFrame
    only_a: int
    only_b: int
    rand: float
    matches: tuple[Match, ...]
    moves: tuple[Move, ...]

    @property
    def total(self) -> int:
        """Number of customers counted: all that are in both runs, or a sample of them."""
        return len(self.labels)

    @property
    def moved(self) -> int:
        """Number of customers who are not in the counterpart of their segment."""
        return sum(move.customers for move in self.moves)

    @property
    def identical(self) -> bool:
        """Whether the two segmentations are the same, apart from ids."""
        return all(match.jaccard == 1 for match in self.matches) and not self.moves

    def counterpart(self) -> dict[int, int]:
        """Return the segment of A for each segment of B that has one."""
        return {match.b: match.a for match in self.matches}


def common_customers(
    a: LoggedSegmentation, b: LoggedSegmentation, same_data: bool
) -> tuple[CommonCustomers | None, str]:
    """Match the customers of both runs by id; else say why that is not possible."""
    lacking = [letter for letter, run in ((A, a), (B, b)) if run.customers is None]
    if a.customers is None or b.customers is None:
        if same_data and _same_customers(a.sample, b.sample):
            labels = pd.DataFrame({A: a.sample, B: b.sample})
            return _counted(a, b, labels, population=a.population), ""
        who = "Neither run logged" if len(lacking) == 2 else f"Run {lacking[0]} did not log"
        return None, f"{who} which segment each customer is in (tracking.log_customers=true does)."
    if not same_data and NUMBERED in (a.customers.index.name, b.customers.index.name):
        return None, (
            "The data sets differ, and without an id column it is not known which customers are in "
            "both."
        )
    both = a.customers.index.intersection(b.customers.index, sort=False)
    if not len(both):
        ids = f"{a.customers.index[0]!r} and {b.customers.index[0]!r}"
        return None, f"The data sets have no customer in common (their first ids are {ids})."
    labels = pd.DataFrame({A: a.customers.loc[both], B: b.customers.loc[both]}).astype("int64")
    return _counted(a, b, labels), ""


def _same_customers(a: pd.Series | None, b: pd.Series | None) -> bool:
    return a is not None and b is not None and a.name == b.name and len(a) == len(b)


def _counted(
    a: LoggedSegmentation,
    b: LoggedSegmentation,
    labels: pd.DataFrame,
    *,
    population: int | None = None,
) -> CommonCustomers:
    """Count the customers with these labels; with `population`, their ids are not known."""
    counts = pd.crosstab(labels[A], labels[B])
    counts = counts.reindex(index=segment_ids(a), columns=segment_ids(b), fill_value=0)
    matches = _matches(counts)
    named = population is None
    return CommonCustomers(
        labels=labels,
        has_ids=named,
        population=len(labels) if population is None else population,
        counts=counts,
        only_a=0 if a.customers is None or not named else len(a.customers) - len(labels),
        only_b=0 if b.customers is None or not named else len(b.customers) - len(labels),
        rand=float(adjusted_rand_score(labels[A], labels[B])),
        matches=matches,
        moves=_moves(labels, counts, matches, examples=_EXAMPLES if named else 0),
    )


def _matches(counts: pd.DataFrame) -> tuple[Match, ...]:
    """Assign the segments so that the most customers are in counterparts.

    Kuhn 1955, Nav. Res. Logist. Q. 2. Segments without common customers have no counterpart.
    """
    table = counts.to_numpy()
    either = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    return tuple(
        Match(
            a=int(counts.index[i]),
            b=int(counts.columns[j]),
            customers=int(table[i, j]),
            jaccard=float(table[i, j] / either[i, j]),
        )
        for i, j in zip(*linear_sum_assignment(-table), strict=True)
        if table[i, j]
    )


def _moves(
    labels: pd.DataFrame, counts: pd.DataFrame, matches: Sequence[Match], *, examples: int
) -> tuple[Move, ...]:
    stay = {(match.a, match.b) for match in matches}
    table, moves = counts.to_numpy(), []
    for i, j in zip(*table.nonzero(), strict=True):
        a, b, size = int(counts.index[i]), int(counts.columns[j]), int(table[i, j])
        if (a, b) not in stay:
            ids = labels.index[(labels[A] == a).to_numpy() & (labels[B] == b).to_numpy()]
            some = tuple(str(each) for each in ids[:examples])
            moves.append(Move(a, b, size, size / int(table[i].sum()), some))
    return tuple(sorted(moves, key=lambda move: (-move.customers, move.a, move.b)))


def segment_ids(run: LoggedSegmentation) -> list[int]:
    """Return the segment ids of a run, in the order of its table."""
    return [int(segment) for segment in run.segments["segment"]]
