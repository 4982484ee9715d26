"""The items a monitoring run logs: numbers, tables, figures and one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from segmentation.config import MonitoringConfig
from segmentation.monitoring.monitor import Monitored, metric_names
from segmentation.reporting.page import picture, render
from segmentation.tracking.items import File, LogItem, Metric, Param, Table, Tag
from segmentation.visualization import to_png
from segmentation.visualization.drift_figures import features, shares

#: Alternative text of each figure.
FIGURE_TEXTS = {
    "shares": "Share of each segment then and now, with intervals",
    "features": "Population stability index of each feature against its limits",
}


def monitor_items(
    monitored: Monitored, rules: MonitoringConfig, *, meta: Mapping[str, str]
) -> Iterator[LogItem]:
    """Yield everything a monitoring run logs.

    Parameters
    ----------
    monitored : Monitored
    rules : MonitoringConfig
        The limits behind the verdict, shown in the report.
    meta : mapping of str to str
        Origin of the run; ``model`` and ``data`` become params too.
    """
    yield Tag("kind", "monitor")
    yield Tag("verdict", monitored.verdict)
    yield Tag(
        "mlflow.note.content", f"**{monitored.verdict}**: {monitored.sentence} {monitored.advice}"
    )
    for name in ("model", "data"):
        yield Param(name, meta[name])
    yield from _metrics(monitored)
    names = _metric_names(monitored)
    if any(metric != f"psi/{feature}" for feature, metric in names.items()):
        table = pd.DataFrame(names.items(), columns=["feature", "metric"])
        yield Table("tables/metric_names.json", table)
    yield Table("tables/features.json", monitored.features)
    yield Table("tables/segments.json", monitored.segments)
    pictures: dict[str, bytes] = {}
    if monitored.now:
        pictures["shares"] = to_png(shares(monitored.segments))
    if monitored.features["psi"].notna().any():
        figure = features(monitored.features, rules.psi.watch, rules.psi.retrain)
        pictures["features"] = to_png(figure)
    for name, png in pictures.items():
        yield File(f"figures/{name}.png", png)
    page = render_monitor_report(monitored, rules, pictures=pictures, meta=meta)
    yield File("report.html", page.encode())


def _metric_names(monitored: Monitored) -> dict[str, str]:
    return metric_names([str(feature) for feature in monitored.features["feature"]])


def _metrics(monitored: Monitored) -> Iterator[Metric]:
    numbers = {
        "customers": float(monitored.now),
        "rejected": float(monitored.rejected.total()),
        "psi_segments": monitored.psi_segments,
        "mean_distance_then": monitored.distance_then,
        "mean_distance": monitored.distance_now,
        "out_of_range": monitored.out_of_range,
    }
    names = _metric_names(monitored)
    for feature, value in zip(names, monitored.features["psi"], strict=True):
        numbers[names[feature]] = float(value)
    for id_, value in zip(monitored.segments["segment"], monitored.segments["now"], strict=True):
        numbers[f"share/{id_}"] = float(value)
    for name, value in numbers.items():
        # MLflow's SQL store saves NaN as 0, so undefined values are not logged.
        if math.isfinite(value):
            yield Metric(name, value)


def render_monitor_report(
    monitored: Monitored,
    rules: MonitoringConfig,
    *,
    pictures: Mapping[str, bytes],
    meta: Mapping[str, str],
) -> str:
    """Render the report as one self-contained HTML page; text from the customers is escaped.

    Parameters
    ----------
    monitored : Monitored
    rules : MonitoringConfig
    pictures : mapping of str to bytes
        PNG files; ``shares`` and ``features``.
    meta : mapping of str to str
        Listed at the end as given; ``run`` is the page's title.
    """
    return render(
        "monitor.html.j2",
        title=meta.get("run", "monitor"),
        verdict=monitored.verdict,
        sentence=monitored.sentence,
        advice=monitored.advice,
        findings=monitored.findings,
        numbers=_facts(monitored),
        segments=[_segment_row(row) for row in monitored.segments.to_dict("records")],
        features=[_feature_row(row) for row in monitored.features.to_dict("records")],
        figures={
            name: [picture(pictures[name], text)] if name in pictures else []
            for name, text in FIGURE_TEXTS.items()
        },
        rejected=[(kind, f"{count:,}") for kind, count in monitored.rejected.most_common()],
        rules=_rules(rules),
        confidence=_percent(rules.confidence, 0),
        meta=meta,
    )


def _facts(monitored: Monitored) -> list[tuple[str, str]]:
    low, high = monitored.out_of_range_interval
    facts = [
        ("training customers", f"{monitored.then:,}"),
        ("new customers scored", f"{monitored.now:,}"),
        ("rows not scored", f"{monitored.rejected.total():,}"),
    ]
    if monitored.now:
        facts += [
            (
                "mean distance to the centre, then and now",
                f"{monitored.distance_then:.3f} → {monitored.distance_now:.3f}",
            ),
            (
                "farther out than 99 % in training",
                f"{_percent(monitored.out_of_range)} ({_percent(low)} – {_percent(high)})",
            ),
            ("PSI of the segments", f"{monitored.psi_segments:.3f}"),
        ]
    return facts


def _segment_row(row: Mapping[Any, Any]) -> dict[str, str]:
    now, interval, change = "–", "", "–"
    if math.isfinite(row["now"]):
        now = _percent(row["now"])
        interval = f" ({_percent(row['low'])} – {_percent(row['high'])})"
        change = f"{100 * (row['now'] - row['then']):+.1f} points".replace("-", "−")
    return {
        "name": f"{row['segment']}  {row['name']}",
        "then": f"{_percent(row['then'])} "
        f"({_percent(row['then_low'])} – {_percent(row['then_high'])})",
        "now": now + interval,
        "change": change,
        "distance_then": _number(row["distance_then"]),
        "distance_now": _number(row["distance_now"]),
        "verdict": str(row["verdict"]),
    }


def _feature_row(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        "feature": str(row["feature"]),
        "psi": _number(row["psi"]),
        "chance": _number(row["chance"]),
        "unusable": _percent(row["unusable"]),
        "unseen": _percent(row["unseen"]),
        "verdict": str(row["verdict"]),
    }


def _rules(rules: MonitoringConfig) -> list[tuple[str, str, str]]:
    return [
        ("PSI of a feature or of the segments", f"{rules.psi.watch:g}", f"{rules.psi.retrain:g}"),
        *(
            (text, _percent(limits.watch), _percent(limits.retrain))
            for text, limits in (
                ("change of a segment's share (points)", rules.share),
                ("farther from the centre on average by", rules.distance),
                ("farther out than 99 % in training", rules.out_of_range),
                ("rows that cannot be scored", rules.rejected),
            )
        ),
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "–"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%" if math.isfinite(value) else "–"
