"""WHAT a run logs, as small dataclasses; `segmentation.tracking` knows where it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from segmentation.figures import DATA_FIGURES, FIGURES, to_png
from segmentation.report import render_report
from segmentation.result import SegmentationResult


@dataclass(frozen=True)
class Param:
    """A short setting: a name or a count."""

    name: str
    value: str


@dataclass(frozen=True)
class Metric:
    """A number; `step` is k for the numbers of every fitted k."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Tag:
    """A text to filter runs by."""

    name: str
    value: str


@dataclass(frozen=True)
class Table:
    """A small table the MLflow UI can show."""

    path: str
    frame: pd.DataFrame


@dataclass(frozen=True)
class File:
    """A figure, page or large table, as the bytes of its file."""

    path: str
    content: bytes


LogItem = Param | Metric | Tag | Table | File


def run_name(result: SegmentationResult) -> str:
    """Name that says which configuration this was, such as ``income_spending·standard·k5``."""
    return f"{result.features.name}·{result.scaling}·k{result.k}"


def iter_log_items(
    result: SegmentationResult,
    *,
    meta: Mapping[str, str],
    data_figures: bool = True,
    log_customers: bool = True,
) -> Iterator[LogItem]:
    """Everything a run of `result` logs but its model.

    Parameters
    ----------
    result : SegmentationResult
    meta : mapping of str to str
        How the run came about, for the report: command, versions and the like.
    data_figures : bool
        Also the figures of the data alone; a sweep draws them once, on its parent run.
    log_customers : bool
        Also the customer -> segment table.
    """
    yield from _params(result)
    yield from _metrics(result)
    yield from _tags(result)
    yield Table("tables/k.json", result.curve.reset_index())
    yield Table("tables/segments.json", segment_table(result))
    yield Table("tables/profile.json", result.profile)
    if result.choice.evidence is not None:
        text = json.dumps(result.choice.evidence.as_dict(), indent=2)
        yield File("evidence.json", text.encode())
    if log_customers:
        yield File("customers.csv", customer_csv(result))
    figures = dict(_figures(result))
    for name, png in figures.items():
        if data_figures or name not in DATA_FIGURES:
            yield File(f"figures/{name}.png", png)
    yield File("report.html", render_report(result, figures=figures, meta=meta).encode())


def _params(result: SegmentationResult) -> Iterator[Param]:
    yield Param("customers", str(len(result.labels)))
    yield Param("data", result.customers.source)
    yield Param("features", result.features.name)
    yield Param("n_features", str(len(result.features.columns)))
    yield Param("scaling", result.scaling)
    yield Param("k_min", str(min((k for k in result.clusterings if k > 1), default=1)))
    yield Param("k_max", str(max(result.clusterings)))
    yield Param("choice", result.choice.rule)
    yield Param("engine", result.engine)
    yield Param("effort", result.effort)
    yield Param("seed", str(result.seed))


def _metrics(result: SegmentationResult) -> Iterator[Metric]:
    # MLflow's SQL store keeps NaN as 0, so what is undefined at a k is not logged.
    for name, column in result.curve.items():
        for k, value in column.dropna().items():
            yield Metric(f"curve/{name}", float(value), step=int(str(k)))
    yield Metric("k", float(result.k))
    for name, value in result.curve.loc[result.k].dropna().items():
        yield Metric(str(name), float(value))
    if result.stability is not None:
        yield Metric("stability", float(result.stability.stability))
    if result.choice.evidence is not None and result.choice.evidence.gap is not None:
        yield Metric("gap", float(result.choice.evidence.gap))


def _tags(result: SegmentationResult) -> Iterator[Tag]:
    structure = {True: "yes", False: "no", None: "untested"}[result.structure]
    yield Tag("structure", structure)
    if result.confidence is not None:
        yield Tag("confidence", result.confidence)
    yield Tag("features", result.features.name)
    yield Tag("scaling", result.scaling)
    yield Tag("data_sha256", result.customers.digest)
    yield Tag("mlflow.note.content", _note(result))


def _note(result: SegmentationResult) -> str:
    lines = [f"**{result.choice.verdict}**", "", "| segment | name | customers | share |"]
    lines += ["|---|---|---|---|"]
    lines += [f"| {s.id} | {_cell(s.name)} | {s.size} | {s.share:.1%} |" for s in result.segments]
    columns = ", ".join(f"`{column}`" for column in result.features.columns)
    lines += ["", f"Clustered on {columns}; scaling {result.scaling}."]
    lines += ["The whole story: `report.html` under Artifacts."]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def segment_table(result: SegmentationResult) -> pd.DataFrame:
    """One row a segment: id, name, customers, share, silhouette, stability, median of each feature."""
    rows = pd.DataFrame(
        {
            "segment": [s.id for s in result.segments],
            "name": [s.name for s in result.segments],
            "customers": [s.size for s in result.segments],
            "share": [s.share for s in result.segments],
            "silhouette": [s.silhouette for s in result.segments],
        }
    )
    if result.stability is not None:
        rows["stability"] = result.stability.jaccard
    numeric = result.profile[result.profile["median"].notna()]
    medians = numeric.pivot(index="segment", columns="feature", values="median")
    return rows.merge(medians.add_prefix("median "), left_on="segment", right_index=True)


def customer_csv(result: SegmentationResult) -> bytes:
    """The customer -> segment table: id, segment, distance to its centre in the scaled space."""
    names = np.array([s.name for s in result.segments])
    table = pa.table(
        {
            str(result.customers.ids.name): pa.array(result.customers.ids.astype(str)),
            "segment": result.labels,
            "segment_name": names[result.labels],
            "distance": result.distances,
        }
    )
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    return bytes(sink.getvalue())


def _figures(result: SegmentationResult) -> Iterator[tuple[str, bytes]]:
    for name, draw in FIGURES.items():
        figure = draw(result)
        if figure is not None:
            yield name, to_png(figure)
