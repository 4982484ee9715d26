"""The comparison of two runs as text: for the terminal, or as Markdown, CSV or JSON."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from segmentation.errors import ConfigError
from segmentation.experiments import pair_tables, ranking
from segmentation.experiments.pair_customers import A, B
from segmentation.experiments.pair_tables import PairTable
from segmentation.experiments.run_pair import RunPair, segment_rows
from segmentation.visualization.style import shorten, text_columns

#: Columns of a terminal that the text fits.
WIDTH = 100
GAP = "  "
#: Words get at least this much of the width, however many columns of numbers there are.
LEAST_ROOM = 36
#: Longest heading and longest text.
MOST_HEADING, MOST_TEXT = 24, 1000
#: Columns of numbers are at least as wide before their headings are broken.
LEAST_NUMBER = 9


def render_pair(pair: RunPair, *, form: str) -> str:
    """Render the comparison as text.

    Parameters
    ----------
    pair : RunPair
    form : {"table", "csv", "json", "markdown"}
        ``csv`` has one row per segment of either run, ``json`` everything but the page's figure.

    Raises
    ------
    ConfigError
        `form` is not allowed.
    """
    if form not in ranking.FORMATS:
        raise ConfigError(f"format={form}: allowed are {', '.join(ranking.FORMATS)}.")
    if form == "csv":
        return _csv(pair)
    if form == "json":
        return json.dumps(_plain(pair), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return _markdown(pair) if form == "markdown" else _terminal(pair)


def _terminal(pair: RunPair) -> str:
    blocks = [
        "\n".join(_table(pair_tables.runs_table(pair))),
        "\n".join(_wrapped(line) for line in [pair.headline(), *_ranked(pair), *pair.notes]),
    ]
    for table in _tables(pair):
        if table.title == pair_tables.CROSSTAB and _width(table) > WIDTH:
            blocks.append("\n".join([table.title, *_by_segment(pair)]))
            continue
        note = [_wrapped(table.note)] if table.note else []
        blocks.append("\n".join([table.title, *note, *_table(table)]))
    return "\n\n".join(blocks)


def _tables(pair: RunPair) -> list[PairTable]:
    tables = [
        pair_tables.difference_table(pair),
        pair_tables.segment_pair_table(pair),
        pair_tables.crosstab_table(pair),
        pair_tables.moves_table(pair),
        pair_tables.criteria_table(pair),
    ]
    return [table for table in tables if table is not None]


def _ranked(pair: RunPair) -> list[str]:
    return [] if pair.first is None else [f"The ranking puts {pair.first} first. {pair.why_first}"]


def _table(table: PairTable) -> list[str]:
    """Align a table; columns that do not fit beside the others follow in further blocks."""
    if table.frame.empty:
        return []
    columns = [_column(table, place) for place in range(table.frame.shape[1])]
    widths = [
        max(text_columns(line) for cell in column for line in cell.split("\n"))
        for column in columns
    ]
    words, numbers = range(table.words), list(range(table.words, len(columns)))
    room = max(WIDTH - sum(widths[n] + len(GAP) for n in numbers), LEAST_ROOM)
    while sum(widths[w] + len(GAP) for w in words) > room:
        widest = max(words, key=widths.__getitem__)
        widths[widest] -= 1
    lines: list[str] = []
    block = list(words)
    for place in [*numbers, None]:
        used = sum(widths[c] + len(GAP) for c in block)
        if place is None or used + widths[place] + len(GAP) > WIDTH:
            lines += ([""] if lines else []) + _block(table, columns, widths, block)
            block = [0]
        if place is not None:
            block.append(place)
    return lines


def _column(table: PairTable, place: int) -> list[str]:
    """Return the heading and the cells of a column; headings above numbers are broken."""
    cells = [shorten(cell, MOST_TEXT) for cell in table.frame.iloc[:, place]]
    heading = shorten(table.frame.columns[place], MOST_HEADING)
    if place >= table.words:
        heading = _broken(heading, max(LEAST_NUMBER, *(len(cell) for cell in cells)))
    return [heading, *cells]


def _broken(heading: str, width: int) -> str:
    """Break a heading after blanks and underscores, so that the column is not much wider."""
    lines = [""]
    for piece in re.findall(r"[^ _]*[ _]*", heading):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)


def _block(
    table: PairTable, columns: Sequence[Sequence[str]], widths: Sequence[int], block: Sequence[int]
) -> list[str]:
    lines = []
    for row in range(len(columns[0])):
        # The heading is row 0.
        if row - 1 in table.starts:
            lines.append("")
        cells = [_cell(columns[c][row], widths[c]) for c in block]
        height = max(len(cell) for cell in cells)
        for part in range(height):
            line = []
            for c, cell in zip(block, cells, strict=True):
                # Headings stand at the bottom of their row.
                at = part - (height - len(cell)) if row == 0 else part
                text = cell[at] if 0 <= at < len(cell) else ""
                space = " " * (widths[c] - text_columns(text))
                line.append(text + space if c < table.words else space + text)
            lines.append(f"{GAP}{GAP.join(line)}".rstrip())
    return lines


def _cell(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` columns."""
    if "\n" in text or text_columns(text) <= width:
        return text.split("\n")
    # East Asian letters take two columns each.
    narrow = width if text_columns(text) == len(text) else max(1, width // 2)
    return textwrap.wrap(text, narrow)


def _width(table: PairTable) -> int:
    columns = [_column(table, place) for place in range(table.frame.shape[1])]
    return sum(max(text_columns(cell) for cell in column) + len(GAP) for column in columns)


def _by_segment(pair: RunPair) -> list[str]:
    """List where the customers of each segment of A are in B, for a crosstab that is too wide."""
    assert pair.common is not None
    lines = []
    for segment, row in pair.common.counts.iterrows():
        found = row[row > 0].sort_values(ascending=False, kind="stable")
        texts = ", ".join(f"{B}{other}: {count:,}" for other, count in found.items())
        lines.append(
            textwrap.fill(
                texts or "–",
                WIDTH,
                initial_indent=f"{GAP}{f'{A}{segment}':<5}",
                subsequent_indent=f"{GAP}{'':<5}",
            )
        )
    return lines


def _wrapped(text: str) -> str:
    # `shorten` makes a plain blank of the one that keeps a number and its sign together.
    return textwrap.fill(shorten(text, MOST_TEXT).replace(" %", "\N{NO-BREAK SPACE}%"), WIDTH)


def _markdown(pair: RunPair) -> str:
    parts = [f"**{_escaped(pair.headline())}**"]
    parts += [_escaped(line) for line in [*_ranked(pair), *pair.notes]]
    for table in [pair_tables.runs_table(pair), *_tables(pair)]:
        parts.append(f"### {table.title}")
        if table.note:
            parts.append(_escaped(table.note))
        if not table.frame.empty:
            safe = table.frame.map(_escaped)
            safe.columns = pd.Index([_escaped(str(name)) for name in safe.columns])
            parts.append(ranking.markdown(safe))
    return "\n\n".join(parts)


def _escaped(text: str) -> str:
    """Keep text from becoming markup in Markdown; `ranking.markdown` escapes the pipes."""
    line = shorten(text, MOST_TEXT)
    line = re.sub(r"([\\`*\[\]])", r"\\\1", line)
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _csv(pair: RunPair) -> str:
    rows = [_flat_row(row) for row in segment_rows(pair)]
    runs = {letter: run.row for letter, run in pair.sides.items()}
    frame = pd.DataFrame(rows)
    frame["shared"] = frame["shared"].astype("Int64")
    frame.insert(1, "run_id", [runs[letter]["run_id"] for letter in frame["run"]])
    return frame.to_csv(index=False, lineterminator="\n").rstrip("\n")


def _flat_row(row: dict[str, Any]) -> dict[str, Any]:
    medians = {f"median {name}": value for name, value in row["medians"].items()}
    return {key: value for key, value in row.items() if key != "medians"} | medians


def _plain(pair: RunPair) -> dict[str, Any]:
    """Return the comparison as one object of JSON."""
    common = pair.common
    return {
        "headline": pair.headline(),
        "runs": {
            letter: {
                **{key: _finite(value) for key, value in run.row.items()},
                "customers": run.population,
            }
            for letter, run in pair.sides.items()
        },
        "same_data": pair.same_data,
        "differences": [asdict(each) for each in pair.differences],
        "segments": segment_rows(pair),
        "customers": None
        if common is None
        else {
            "in_both": common.total,
            "only_a": common.only_a,
            "only_b": common.only_b,
            "moved": common.moved,
            "adjusted_rand_index": common.rand,
            "crosstab": [
                {"a": int(a), "b": int(b), "customers": int(n)}
                for a, row in zip(common.counts.index, common.counts.to_numpy(), strict=True)
                for b, n in zip(common.counts.columns, row, strict=True)
                if n
            ],
            "counterparts": [asdict(match) for match in common.matches],
            "moves": [asdict(move) for move in common.moves],
        },
        "criteria": [asdict(each) for each in pair.criteria],
        "first": pair.first,
        "why_first": pair.why_first,
        "not_compared": pair.not_compared,
        "notes": list(pair.notes),
    }


def _finite(value: Any) -> Any:
    """Return a value of a table as JSON has it: times as text, missing numbers as null."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return None if pd.isna(value) else value
