"""The comparison of two runs as tables of text, for the terminal, Markdown and the page."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from segmentation.evaluation.formats import in_units, percent
from segmentation.experiments.pair_customers import A, B, Move
from segmentation.experiments.run_pair import RunPair, segment_rows
from segmentation.tracking.run_lookup import short_ids

#: At most this many moves are listed; the crosstab has them all.
MOST_MOVES = 12
CROSSTAB = "Who is in which segment"


@dataclass(frozen=True)
class PairTable:
    """A table of the comparison.

    Attributes
    ----------
    title : str
    note : str
        How to read it; may be empty.
    frame : DataFrame of str
        Two columns may have the same name.
    words : int
        Number of columns, from the left, that hold words; the others hold numbers.
    starts : frozenset of int
        Rows that open a group of rows.
    """

    title: str
    note: str
    frame: pd.DataFrame
    words: int = 1
    starts: frozenset[int] = frozenset()


def runs_table(pair: RunPair) -> PairTable:
    """Return which runs A and B are."""
    ids = short_ids([str(run.row["run_id"]) for run in pair.sides.values()])
    rows = [
        [
            letter,
            str(run.row["run"]),
            id_,
            f"{run.row['start']:%Y-%m-%d %H:%M}",
            f"{run.population:,}",
            str(run.row["data"]),
        ]
        for (letter, run), id_ in zip(pair.sides.items(), ids, strict=True)
    ]
    head = ["", "run", "id", "started (UTC)", "customers", "data"]
    return PairTable("The runs", "", pd.DataFrame(rows, columns=head), words=len(head))


def difference_table(pair: RunPair) -> PairTable:
    """Return the settings that differ."""
    rows = [[each.setting, each.a or "–", each.b or "–"] for each in pair.differences]
    note = "" if rows else "None: the same configuration, data, code and packages."
    frame = pd.DataFrame(rows, columns=["setting", A, B])
    return PairTable("Settings that differ", note, frame, words=3)


def segment_pair_table(pair: RunPair) -> PairTable:
    """Return the segments of both runs, each with its counterpart."""
    rows = segment_rows(pair)
    shared = pair.common is not None
    head = ["", "segment", "customers", "share", *(["in both", "Jaccard"] if shared else [])]
    cells = []
    for row in rows:
        told = [f"{row['run']}{row['segment']}", row["name"]]
        told += [f"{row['customers']:,}", percent(row["share"])]
        if shared:
            alone = row["shared"] is None
            told += ["–", "–"] if alone else [f"{row['shared']:,}", f"{row['jaccard']:.2f}"]
        medians = row["medians"].values()
        cells.append([*told, *("–" if m is None else in_units(m) for m in medians)])
    pairs = [row["run"] if row["shared"] is None else row["group"] for row in rows]
    starts = {i for i in range(1, len(pairs)) if pairs[i] != pairs[i - 1]}
    note = "Columns of the customers are shown by their medians."
    if shared:
        note = f"Counterparts stand together. {note}"
    frame = pd.DataFrame(cells, columns=[*head, *pair.columns])
    return PairTable("The segments", note, frame, words=2, starts=frozenset(starts))


def crosstab_table(pair: RunPair) -> PairTable | None:
    """Return how many customers are in each segment of A and of B; None without common ones."""
    if pair.common is None:
        return None
    counts = pair.common.counts
    rows = [
        [f"{A}{segment}", *(f"{n:,}" if n else "·" for n in row)]
        for segment, row in zip(counts.index, counts.to_numpy().tolist(), strict=True)
    ]
    frame = pd.DataFrame(rows, columns=["", *(f"{B}{segment}" for segment in counts.columns)])
    note = "Rows are the segments of A, columns those of B."
    return PairTable(CROSSTAB, note, frame)


def moves_table(pair: RunPair) -> PairTable | None:
    """Return the largest moves; None if nobody moves or it is not known."""
    if pair.common is None or not pair.common.moves:
        return None
    moves = pair.common.moves
    rows = [
        [
            f"{A}{move.a} → {B}{move.b}",
            *([_examples(move)] if pair.common.has_ids else []),
            f"{move.customers:,}",
            percent(move.share),
        ]
        for move in moves[:MOST_MOVES]
    ]
    note = "A customer moves if the segment in B is not the counterpart of the one in A."
    if len(moves) > MOST_MOVES:
        note += f" These are the {MOST_MOVES} largest of {len(moves)} moves."
    words = ["move", *(["for example"] if pair.common.has_ids else [])]
    frame = pd.DataFrame(rows, columns=[*words, "customers", "share of A"])
    return PairTable("Who moves", note, frame, words=len(words))


def _examples(move: Move) -> str:
    more = ["…"] if move.customers > len(move.examples) else []
    return ", ".join([*move.examples, *more])


def criteria_table(pair: RunPair) -> PairTable:
    """Return which run is better by what."""
    rows = [
        [each.label, each.a, each.b, ", ".join(filter(None, [each.better, each.note]))]
        for each in pair.criteria
    ]
    frame = pd.DataFrame(rows, columns=["", A, B, "better"])
    return PairTable("Which is better, by what", pair.not_compared, frame, words=4)


def customer_csv(pair: RunPair) -> bytes | None:
    """Return the segment of each common customer in both runs as CSV; None without known ids.

    The columns are the customer's id, ``segment_a``, ``name_a``, ``segment_b``, ``name_b`` and
    ``moved`` (true or false).
    """
    if pair.common is None or not pair.common.has_ids:
        return None
    labels = pair.common.labels
    table = pd.DataFrame({"customer": labels.index})
    for letter, run in pair.sides.items():
        names = dict(zip(run.segments["segment"], run.segments["name"], strict=True))
        table[f"segment_{letter.lower()}"] = labels[letter].to_numpy()
        table[f"name_{letter.lower()}"] = labels[letter].map(names).to_numpy()
    stays = labels[B].map(pair.common.counterpart()) == labels[A]
    table["moved"] = stays.map({True: "false", False: "true"}).to_numpy()
    return table.to_csv(index=False, lineterminator="\n").encode()
