"""The comparison of two runs as a figure and as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segmentation.experiments import pair_tables
from segmentation.experiments.pair_customers import A, B
from segmentation.experiments.pair_tables import PairTable
from segmentation.experiments.run_pair import RunPair, aligned_ids, segment_rows
from segmentation.reporting.page import picture, render
from segmentation.visualization import to_png
from segmentation.visualization.migration import Sides, bands
from segmentation.visualization.style import segment_color, shorten, text_columns

FIGURE_TEXT = "Bands of customers from each segment of A to the segments of B"
#: Columns of text above the two sides of the figure together.
HEADINGS = 50


def pair_figure(pair: RunPair) -> bytes | None:
    """Draw where the customers of each segment are in the other run, as PNG.

    Returns None if the runs have no customers in common.
    """
    if pair.common is None:
        return None
    aligned = aligned_ids(pair)
    names = {
        letter: dict(zip(run.segments["segment"], run.segments["name"], strict=True))
        for letter, run in pair.sides.items()
    }
    sides = Sides(
        headings=_headings(pair),
        labels=(
            {int(segment): f"{A}{segment} {name}" for segment, name in names[A].items()},
            {aligned[segment]: f"{B}{segment} {name}" for segment, name in names[B].items()},
        ),
        finding=pair.finding(),
        note="strong bands: customers in the counterpart of their segment; pale: who moves",
    )
    return to_png(bands(pair.common.counts.rename(columns=aligned), sides))


def _headings(pair: RunPair) -> tuple[str, str]:
    """Return what stands above the two sides; the two must not meet in the middle."""
    full = [f"{letter}: {run.row['run']}" for letter, run in pair.sides.items()]
    first, second = (
        shorten(text, max(HEADINGS // 2, HEADINGS - text_columns(other)))
        for text, other in (full, reversed(full))
    )
    return first, second


def render_pair_page(pair: RunPair, *, command: str) -> str:
    """Render the page as HTML that loads nothing; text from configs and data is escaped.

    Parameters
    ----------
    pair : RunPair
    command : str
        The command that makes the page again.
    """
    png = pair_figure(pair)
    aligned = aligned_ids(pair)
    rows = segment_rows(pair)
    colors = [
        segment_color(row["segment"] if row["run"] == A else aligned[row["segment"]])
        for row in rows
    ]
    runs = [f"{run.row['run']} (run {run.row['run_id']})" for run in pair.sides.values()]
    return render(
        "pair.html.j2",
        title=f"{pair.a.row['run']} and {pair.b.row['run']}",
        headline=pair.headline(),
        first=pair.first,
        why=pair.why_first,
        numbers=_facts(pair),
        runs=_content(pair_tables.runs_table(pair)),
        differences=_content(pair_tables.difference_table(pair)),
        segments=_content(pair_tables.segment_pair_table(pair)),
        colors=colors,
        crosstab=_content(pair_tables.crosstab_table(pair)),
        shares=_shares(pair),
        moves=_content(pair_tables.moves_table(pair)),
        criteria=_content(pair_tables.criteria_table(pair)),
        better=[each.better for each in pair.criteria],
        notes=pair.notes,
        figures=[] if png is None else [picture(png, FIGURE_TEXT)],
        meta={"command": command, A: runs[0], B: runs[1]},
    )


def _facts(pair: RunPair) -> list[tuple[str, str]]:
    facts = [("segments", f"{len(pair.a.segments)} and {len(pair.b.segments)}")]
    if pair.common is not None:
        facts += [
            ("customers in both", f"{pair.common.total:,}"),
            ("who move", f"{pair.common.moved:,}"),
            ("adjusted Rand index", f"{pair.common.rand:.2f}"),
        ]
    if pair.first is not None:
        facts.append(("ranked first", pair.first))
    return facts


def _content(table: PairTable | None) -> Mapping[str, Any] | None:
    if table is None:
        return None
    return {
        "title": table.title,
        "note": table.note,
        "head": [str(name) for name in table.frame.columns],
        "rows": table.frame.to_numpy().tolist(),
        "words": table.words,
        "starts": table.starts,
    }


def _shares(pair: RunPair) -> list[list[float]]:
    """Return the share of each segment of A in each of B, as the strength of a tint."""
    if pair.common is None:
        return []
    counts = pair.common.counts.to_numpy(dtype=float)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    return [[round(share, 3) for share in row] for row in shares.tolist()]
