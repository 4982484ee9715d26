"""The HTML report of a run: the answer first, then how it was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from segmentation.evaluation.formats import percent
from segmentation.profiling.exemplars import BORDERLINE
from segmentation.reporting.cards import between
from segmentation.reporting.page import Picture, picture, render, sentence
from segmentation.reporting.sections import SECTIONS
from segmentation.visualization import FIGURES
from segmentation.visualization.style import segment_color

if TYPE_CHECKING:
    from segmentation.result import SegmentationResult


def render_report(
    result: SegmentationResult,
    *,
    figures: Mapping[str, bytes],
    meta: Mapping[str, str],
    show_customers: bool = True,
) -> str:
    """Render the report of a run as one self-contained HTML page.

    Parameters
    ----------
    result : SegmentationResult
    figures : mapping of str to bytes
        PNG files, keyed by the names in `segmentation.visualization.FIGURES`.
    meta : mapping of str to str
        How the run was made (run name, command, versions, ...), listed in the given order.
        ``run`` is the page's title; ``command`` is shown as code.
    show_customers : bool
        Whether to list the typical customers of each segment by id.

    Returns
    -------
    str
        HTML in which all text from the customers is escaped.
    """
    warning = result.importance.warning if result.importance else None
    return render(
        "report.html.j2",
        title=meta.get("run", f"{result.features.name}·{result.scaling}·k{result.k}"),
        verdict=sentence(result.choice.verdict),
        numbers=_facts(result),
        sureness=_sureness(result),
        careful=sentence(warning) if warning else "",
        segments=_summary(result),
        sections=_sections(result, figures, show_customers=show_customers),
        meta=meta,
    )


def _sections(
    result: SegmentationResult, figures: Mapping[str, bytes], *, show_customers: bool
) -> list[dict[str, Any]]:
    """Collect the sections that have content or figures, with their template variables."""
    pictures: dict[str, list[Picture]] = {name: [] for name in SECTIONS}
    known = [name for name in FIGURES if name in figures]
    for name in [*known, *(name for name in figures if name not in FIGURES)]:
        line = FIGURES.get(name)
        section = line.section if line and line.section in SECTIONS else [*SECTIONS][-1]
        alt, caption = (line.alt, line.caption) if line else (name.replace("_", " "), "")
        pictures[section].append(picture(figures[name], alt, caption))
    return [
        {
            "title": (section.title_of_one if result.k == 1 else "") or section.title,
            "template": f"sections/{section.template}",
            "figures": pictures[name],
            **(section.content(result, show_customers) if section.content else {}),
        }
        for name, section in SECTIONS.items()
        if section.content or pictures[name]
    ]


def _summary(result: SegmentationResult) -> list[dict[str, str]]:
    """Summarise each segment in one line; empty if there is only one segment."""
    return [
        {
            "id": str(segment.id),
            "name": segment.name,
            "color": segment_color(segment.id),
            "size": f"{segment.size:,}",
            "share": percent(segment.share),
            "between": between(segment),
        }
        for segment in result.segments
        if result.k > 1
    ]


def _facts(result: SegmentationResult) -> list[tuple[str, str]]:
    """Return the key numbers of the run as (label, value) pairs."""
    chosen = result.curve.loc[result.k].to_dict()
    facts = [
        ("customers", f"{result.customers.population:,}"),
        ("segments", str(result.k) if result.k > 1 else "none"),
    ]
    if result.k > 1:
        facts.append(("variance explained", percent(float(chosen["explained_variance"]))))
        if np.isfinite(chosen["silhouette"]):
            facts.append(("mean silhouette", f"{chosen['silhouette']:.2f}"))
    if result.confidence is not None:
        facts.append(("confidence", result.confidence))
    if result.stability is not None:
        facts.append(("weakest segment's stability", f"{min(result.stability.jaccard):.2f}"))
    return facts


def _sureness(result: SegmentationResult) -> list[str]:
    """Describe in sentences how sure the answer is."""
    said: list[str] = []
    evidence = result.choice.evidence
    if result.structure is None:
        said.append(
            "Whether these customers form groups at all was not tested: K-Means splits any data "
            "into as many segments as requested. choice=evidence runs the test."
        )
    elif not result.structure:
        said.append(
            "Segments of these customers would only be slices of one group. Treat them as one, or "
            "try other features or another scaling."
        )
    elif evidence is not None:
        said.append(sentence(f"Groups were found: {evidence.gate.reason}"))
    if result.confidence == "contested":
        said.append(
            "The criteria disagree on the number of segments: other values of k are plausible too."
        )
    if result.stability is not None:
        for segment, status in zip(result.segments, result.stability.status, strict=True):
            if status in ("dissolved", "doubtful"):
                said.append(
                    f"Segment {segment.id} ({segment.name}) is {status} when the customers are "
                    "resampled: do not rely on it alone."
                )
        if all(status in ("stable", "very stable") for status in result.stability.status):
            said.append("Every segment reappears when the customers are resampled.")
    if not result.silhouettes.empty:
        share = float((result.silhouettes["silhouette"] < BORDERLINE).mean())
        said.append(f"{percent(share)} of the customers lie between two segments.")
    return said
