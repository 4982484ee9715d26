"""What a run logs; `segmentation.tracking.run_logger` writes it to a store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
from pyarrow.csv import WriteOptions

from segmentation.data.customers import NUMBERED
from segmentation.data.names import free_name
from segmentation.evaluation.partition import encode
from segmentation.features.encoding import changed_names
from segmentation.reporting.run_report import render_report
from segmentation.result import SegmentationResult
from segmentation.runtime.blocks import parts
from segmentation.tracking.items import File, LogItem, Metric, Param, Table, Tag
from segmentation.tracking.run_metrics import EVIDENCE_VERSION, RUN_METRICS
from segmentation.visualization import FIGURES, styled, to_png

#: Figures that show only the data, as PNG, by name and the data's digest.
DrawnFigures = dict[tuple[str, str], bytes | None]
#: Columns of the customer -> segment table after the id.
CUSTOMER_COLUMNS = ("segment", "segment_name", "distance")
#: MLflow keeps 8,000 characters of a tag.
LONGEST_NOTE = 7900


def run_name(result: SegmentationResult) -> str:
    """Return a name that describes the configuration, such as ``income_spending·standard·k5``."""
    return f"{result.features.name}·{result.scaling}·k{result.k}"


def iter_log_items(
    result: SegmentationResult,
    *,
    meta: Mapping[str, str],
    data_figures: bool = True,
    log_customers: bool = True,
    drawn: DrawnFigures | None = None,
) -> Iterator[LogItem]:
    """Yield everything a run of `result` logs except its model.

    Parameters
    ----------
    result : SegmentationResult
    meta : mapping of str to str
        How the run was made, for the report: command, versions and the like.
    data_figures : bool
        Include the figures of the data alone; a sweep draws them once, for its parent run.
    log_customers : bool
        Include what identifies single customers: the customer -> segment table, and the customers
        typical of their segment or on its border.
    drawn : dict, optional
        Figures of the data drawn for earlier runs; those drawn here are added.
    """
    yield from _params(result)
    yield from _metrics(result)
    yield from _tags(result)
    yield Table("tables/k.json", result.curve.reset_index())
    yield Table("tables/segments.json", segment_table(result))
    yield Table("tables/profile.json", result.profile)
    renamed = changed_names(result.pipeline["features"])
    if renamed is not None:
        yield Table("tables/encoded_names.json", renamed)
    if result.choice.evidence is not None:
        text = json.dumps(result.choice.evidence.as_dict(), indent=2)
        yield File("evidence.json", text.encode())
    if result.importance is not None:
        yield Table("tables/importance.json", result.importance.table)
    if result.rules is not None:
        yield Table("tables/rules.json", rule_table(result))
        yield File("rules.txt", rule_text(result).encode())
    if log_customers:
        yield Table("tables/typical.json", typical_table(result))
        sampled = result.customers.population != len(result.labels)
        yield File("customers_sample.csv" if sampled else "customers.csv", customer_csv(result))
    figures = _figures(result, {} if drawn is None else drawn)
    for name, png in figures.items():
        if data_figures or not FIGURES[name].of_data:
            yield File(f"figures/{name}.png", png)
    page = render_report(result, figures=figures, meta=meta, show_customers=log_customers)
    yield File("report.html", page.encode())


def _params(result: SegmentationResult) -> Iterator[Param]:
    yield Param("customers", str(result.customers.population))
    if result.customers.population != len(result.labels):
        yield Param("sample", str(len(result.labels)))
    yield Param("data", result.customers.source)
    yield Param("features", result.features.name)
    yield Param("n_features", str(len(result.features.columns)))
    yield Param("scaling", result.scaling)
    yield Param("k_min", str(result.k_min))
    yield Param("k_max", str(max(result.clusterings)))
    yield Param("choice", result.choice.rule)
    yield Param("engine", result.engine)
    yield Param("effort", result.effort)
    yield Param("seed", str(result.seed))


def _metrics(result: SegmentationResult) -> Iterator[Metric]:
    # MLflow's SQL store saves NaN as 0, so values undefined at a k are not logged.
    for name, column in result.curve.items():
        for k, value in column.dropna().items():
            yield Metric(f"curve/{name}", float(value), step=int(str(k)))
    yield Metric("k", float(result.k))
    for name, value in result.curve.loc[result.k].dropna().to_dict().items():
        yield Metric(str(name), float(value))
    for metric in RUN_METRICS.values():
        number = metric.function(result)
        if number is not None:
            yield Metric(metric.name, float(number))


def _tags(result: SegmentationResult) -> Iterator[Tag]:
    structure = {True: "yes", False: "no", None: "untested"}[result.structure]
    yield Tag("structure", structure)
    if result.confidence is not None:
        yield Tag("confidence", result.confidence)
    yield Tag("features", result.features.name)
    yield Tag("scaling", result.scaling)
    yield Tag("data", result.customers.source)
    yield Tag("data_sha256", result.customers.digest)
    if result.choice.evidence is not None:
        yield Tag("evidence_version", EVIDENCE_VERSION)
    partition = _partition(result)
    if partition is not None:
        yield Tag("partition", partition)
    if result.importance is not None and result.importance.warning is not None:
        yield Tag("careful", result.importance.warning)
    yield Tag("mlflow.note.content", _note(result))


def _partition(result: SegmentationResult) -> str | None:
    ids = result.customers.ids
    if result.customers.total is not None and ids.name == NUMBERED:
        # The rows of a sample without ids are numbered anew in each draw.
        return None
    return encode(ids, result.labels)


def _note(result: SegmentationResult) -> str:
    full = _note_of(result, rules=result.rules is not None)
    if len(full) <= LONGEST_NOTE:
        return full
    short = _note_of(result, rules=False)
    return short if len(short) <= LONGEST_NOTE else f"{short[:LONGEST_NOTE]}…"


def _note_of(result: SegmentationResult, *, rules: bool) -> str:
    told = result.rules.rules if rules and result.rules else None
    lines = [f"**{result.verdict}**", ""]
    if result.importance is not None and result.importance.warning is not None:
        lines += [f"**Careful:** {result.importance.warning}.", ""]
    head = "| segment | name | customers | share |"
    lines += [f"{head} how to recognise |" if told else head]
    lines += ["|---|---|---|---|---|" if told else "|---|---|---|---|"]
    for segment in result.segments:
        row = f"| {segment.id} | {_cell(segment.name)} | {segment.size} | {segment.share:.1%} |"
        lines += [f"{row} {_cell(told[segment.id].text)} |" if told else row]
    if told and result.rules:
        lines += ["", f"{result.rules.verdict} {result.rules.measured}"]
    columns = ", ".join(f"`{column}`" for column in result.features.columns)
    lines += ["", f"Clustered on {columns}; scaling {result.scaling}."]
    lines += ["For details, open `report.html` under Artifacts."]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def segment_table(result: SegmentationResult) -> pd.DataFrame:
    """Return one row per segment.

    The columns are id, name, customers, share with its 95 % interval, silhouette, share of
    borderline customers, stability and the median of each feature.
    """
    rows = pd.DataFrame(
        {
            "segment": [s.id for s in result.segments],
            "name": [s.name for s in result.segments],
            "customers": [s.size for s in result.segments],
            "share": [s.share for s in result.segments],
            "share_low": [s.share_low for s in result.segments],
            "share_high": [s.share_high for s in result.segments],
            "silhouette": [s.silhouette for s in result.segments],
            "borderline": [s.borderline for s in result.segments],
        }
    )
    if result.stability is not None:
        rows["stability"] = result.stability.jaccard
    numeric = result.profile[result.profile["median"].notna()]
    medians = numeric.pivot(index="segment", columns="feature", values="median")
    return rows.merge(medians.add_prefix("median "), left_on="segment", right_index=True)


def rule_table(result: SegmentationResult) -> pd.DataFrame:
    """Return the rule of each segment with its quality on held-out customers."""
    assert result.rules is not None
    rules = result.rules.rules
    return pd.DataFrame(
        {
            "segment": [rule.segment for rule in rules],
            "name": [result.segments[rule.segment].name for rule in rules],
            "rule": [rule.text for rule in rules],
            "coverage": [rule.coverage for rule in rules],
            "precision": [rule.precision for rule in rules],
            "fidelity of all rules": result.rules.fidelity,
        }
    )


def rule_text(result: SegmentationResult) -> str:
    """Return the rules as text to read or paste into an email."""
    assert result.rules is not None
    lines = [result.rules.verdict, result.rules.measured, ""]
    for rule in result.rules.rules:
        lines += [f"Segment {rule.segment}, {result.segments[rule.segment].name}:"]
        lines += [f"  {rule.text}"]
        if rule.quality:
            lines += [f"  ({rule.quality})"]
        lines += [""]
    return "\n".join(lines)


def typical_table(result: SegmentationResult) -> pd.DataFrame:
    """Return the customers of `SegmentationResult.typical` with their ids and values."""
    table, customers = result.typical, result.customers
    rows = table["row"].to_numpy()
    told = table.drop(columns="row")
    told.insert(2, "customer", customers.ids.iloc[rows].to_numpy())
    own = pd.DataFrame(
        {name: customers.column(name).iloc[rows] for name in result.features.described}
    ).reset_index(drop=True)
    # A column of the customers may have the same name as one of ours.
    taken = {*told, *own}
    own.columns = pd.Index([free_name(c, "column", taken) if c in told else c for c in own.columns])
    return pd.concat([told, own], axis=1)


def customer_csv(result: SegmentationResult) -> Iterator[bytes]:
    """Yield the customer -> segment table: id, segment, distance to its centre in the scaled space.

    It comes in parts, since the ids and names of all customers take more memory as text than their
    values.
    """
    names = np.array([s.name for s in result.segments])
    ids = result.customers.ids
    id_name = str(ids.name)
    if id_name in CUSTOMER_COLUMNS:
        id_name = free_name(id_name, "id", CUSTOMER_COLUMNS)
    segment, segment_name, distance = CUSTOMER_COLUMNS
    for part in parts(len(ids)):
        labels = result.labels[part]
        table = pa.table(
            {
                id_name: pa.array(ids.iloc[part].astype(str)),
                segment: labels,
                segment_name: names[labels],
                distance: result.distances[part],
            }
        )
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(table, sink, WriteOptions(include_header=part.start == 0))
        yield sink.getvalue().to_pybytes()


@styled
def _figures(result: SegmentationResult, drawn: DrawnFigures) -> dict[str, bytes]:
    """Draw every figure that applies to the result, as PNG."""
    pngs = {}
    for name, line in FIGURES.items():
        key = (name, result.customers.digest)
        if key in drawn:
            png = drawn[key]
        else:
            figure = line.draw(result)
            png = None if figure is None else to_png(figure)
        if line.of_data:
            drawn[key] = png
        if png is not None:
            pngs[name] = png
    return pngs
