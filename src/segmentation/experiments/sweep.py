"""A sweep as one study: a parent run above its runs, with the ranking that answers its question."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pandas as pd
from joblib import cpu_count
from mlflow.entities import Run

from segmentation.evaluation.agreement import agreement, sentence
from segmentation.experiments import ranking as compare
from segmentation.experiments.read import CustomerTable
from segmentation.experiments.session import SweepJob, SweepSession
from segmentation.experiments.sweep_report import Place, render_sweep_report
from segmentation.features.profile_columns import describing
from segmentation.runtime import interrupts
from segmentation.runtime.forks import aside
from segmentation.runtime.threads import at_most
from segmentation.tracking import process, run_logger, runs
from segmentation.tracking.identity import code_version, versions
from segmentation.tracking.items import File, LogItem, Table, Tag
from segmentation.tracking.store import Store, store_errors
from segmentation.visualization import sweep_grid as drawings
from segmentation.visualization import to_png
from segmentation.visualization.distributions import distributions

#: Runs whose segmentations are compared with each other.
COMPARED_RUNS = 8


def sweep_id(definition: Mapping[str, Any]) -> str:
    """Id of a sweep: a hash of its definition, so that the same sweep is the same study.

    Starts with a letter, since Hydra reads ``12e45678`` as a number.
    """
    content = json.dumps(definition, sort_keys=True, default=str)
    return "s" + hashlib.sha256(content.encode()).hexdigest()[:11]


def start(
    store: Store,
    identity: str,
    *,
    name: str,
    question: str,
    command: str,
    table: CustomerTable | None,
    total: int,
) -> SweepSession:
    """Open the parent run, or reopen it when the same sweep ran before.

    Parameters
    ----------
    store : Store
    identity : str
        From `sweep_id`.
    name : str
        Name of the parent run.
    question : str
        What the sweep asks; shown on the run's page.
    command : str
        What runs it again, without credentials.
    table : CustomerTable or None
        The customers all runs share, whose figures are drawn here once; None when they differ.
    total : int
        Configurations of the sweep.
    """
    tags = {"sweep_id": identity, "study": "yes", "question": question, "command": command}
    with store_errors(store.uri):
        found = store.client.search_runs(
            [store.experiment_id],
            f"tags.sweep_id = '{identity}' and tags.study = 'yes'",
            max_results=1,
        )
        if found:
            run = found[0]
        else:
            # Named as this process's from the start, so that it can be told as left behind.
            run = store.client.create_run(
                store.experiment_id, run_name=name, tags={**process.tags(), **tags}
            )
        parent = str(run.info.run_id)
        run_logger.reopen(store, parent, tags)
        if table is not None and not found:
            customers = table.shared()
            drawn, _ = describing(customers, (), (), None)
            png = to_png(distributions({name: customers.column(name) for name in drawn}))
            run_logger.write_items(store, run, [File("figures/distributions.png", png)])
    job = SweepJob(
        sweep_id=identity,
        parent_run_id=parent,
        has_data_figures=table is not None,
        total=total,
        done=0,
        started=time.time(),
    )
    session = SweepSession(store, job, table)
    session.look()
    session.job = replace(job, done=len(session.rows))
    return session


def finish(
    session: SweepSession, status: str = "FINISHED"
) -> tuple[pd.DataFrame, pd.DataFrame, str | None]:
    """Close the parent run with the summary of its runs.

    Parameters
    ----------
    session : SweepSession
    status : {"FINISHED", "FAILED", "KILLED"}
        Other than FINISHED when not all configurations got through.

    Returns
    -------
    ranked : DataFrame
        From `SweepSession.ranking`.
    same : DataFrame
        From `agreement_of_best`.
    report : str or None
        The page's ``file://`` address; None where there is no run or it lies on a server.
    """
    store, job = session.store, session.job
    ranked, same, report = session.ranking(), pd.DataFrame(), None
    with store_errors(store.uri):
        try:
            if not ranked.empty:
                same, report = _summarise(store, ranked, job)
        finally:
            with interrupts.held():
                store.client.set_terminated(job.parent_run_id, status)
    if status != "FINISHED" and runs.finished_runs(store, sweep_id=job.sweep_id).empty:
        store.client.delete_run(job.parent_run_id)
    return ranked, same, report


def _summarise(
    store: Store, ranked: pd.DataFrame, job: SweepJob
) -> tuple[pd.DataFrame, str | None]:
    """Log the summary of the ranked runs; gives their agreement and the page's address."""
    # A panel a run: as much work as all else that is left, when all cores are free.
    with at_most(1), aside(_curves(store, ranked), cpu_count()) as curves:
        same = agreement_of_best(store, ranked)
        parent = store.client.get_run(job.parent_run_id)
        items = list(_summary(store, ranked, same, parent, job.total, curves))
    run_logger.write_items(store, parent, items)
    return same, runs.artifact_file(str(parent.info.artifact_uri), runs.REPORT_FILE)


def question_of(header: Iterable[str]) -> str:
    """The question a sweep's YAML file states in its header comment."""
    for line in header:
        if line.startswith("# Question:"):
            return line.removeprefix("# Question:").strip()
    return ""


def agreement_of_best(store: Store, ranked: pd.DataFrame) -> pd.DataFrame:
    """Adjusted Rand index between the first runs that logged their customers."""
    found: dict[str, pd.Series] = {}
    for place, row in enumerate(ranked.head(COMPARED_RUNS).itertuples(), 1):
        segments = runs.customer_segments(store, str(row.run_id), str(row.artifact_uri))
        if segments is not None:
            found[f"{place} {row.run}"] = segments
    return agreement(found)


def _summary(
    store: Store,
    ranked: pd.DataFrame,
    same: pd.DataFrame,
    parent: Run,
    total: int,
    curves: Callable[[], bytes | None],
) -> Iterator[LogItem]:
    question = parent.data.tags.get("question", "")
    yield Table("tables/ranking.json", ranked.drop(columns=["start", "artifact_uri"]))
    if len(same) > 1:
        yield Table("tables/agreement.json", same.reset_index(names="run"))
    drawn = {"grid": drawings.grid(ranked), "agreement": drawings.agreement_heatmap(same)}
    pngs = {name: None if figure is None else to_png(figure) for name, figure in drawn.items()}
    # Last: they are drawn beside all this.
    pngs["curves"] = curves()
    figures = {name: png for name, png in pngs.items() if png is not None}
    for name, png in figures.items():
        yield File(f"figures/{name}.png", png)
    best = ranked.iloc[0]
    page = render_sweep_report(
        ranked,
        same,
        question=question,
        total=total,
        segments=runs.logged_table(
            store, str(best["run_id"]), str(best["artifact_uri"]), runs.SEGMENTS_FILE
        ),
        figures=figures,
        places={
            str(row.run_id): Place(
                report=_relative(str(parent.info.artifact_uri), str(row.artifact_uri)),
                run=store.link(str(row.run_id)),
            )
            for row in ranked.itertuples()
        },
        meta=_meta(ranked, parent),
    )
    yield File(runs.REPORT_FILE, page.encode())
    yield Tag("mlflow.note.content", _note(question, ranked, same))


def _curves(store: Store, ranked: pd.DataFrame) -> Callable[[], bytes | None]:
    """What draws the curves of the first runs; their numbers are read already.

    It gives None where no run has kept its files.
    """
    curves, chosen = {}, {}
    for place, row in enumerate(ranked.head(drawings.MOST_PANELS).itertuples(), 1):
        table = runs.logged_table(store, str(row.run_id), str(row.artifact_uri), runs.K_FILE)
        if table is not None:
            name = f"{place} {row.run}"
            curves[name] = table.set_index("k").astype(float)
            chosen[name] = int(str(row.k))
    return lambda: to_png(drawings.all_curves(curves, chosen, len(ranked))) if curves else None


def _relative(parent: str, run: str) -> str:
    """Address of a run's report from the sweep's; "" where they do not lie in files."""
    if any(urlsplit(place).scheme not in ("", "file") for place in (parent, run)):
        return ""
    here, there = (unquote(urlsplit(place).path) for place in (parent, run))
    return quote(Path(os.path.relpath(there, here), runs.REPORT_FILE).as_posix())


def _meta(ranked: pd.DataFrame, parent: Run) -> dict[str, str]:
    digests = dict.fromkeys(zip(ranked["data"], ranked["data_sha256"], strict=True))
    return {
        "run": str(parent.info.run_name),
        "command": parent.data.tags.get("command", ""),
        "sweep id": parent.data.tags["sweep_id"],
        "run id": str(parent.info.run_id),
        "data": ", ".join(f"{name} (SHA-256 {digest[:16]}…)" for name, digest in digests),
        "code": code_version(),
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }


def _note(question: str, ranked: pd.DataFrame, same: pd.DataFrame) -> str:
    best = ranked.iloc[0]
    structure = {
        "yes": "cluster structure found",
        "no": "no cluster structure found",
        "untested": "structure untested",
    }[best["structure"]]
    confidence = f", k {best['confidence']}" if isinstance(best["confidence"], str) else ""
    lines = [f"**{question}**", ""] if question else []
    lines += [f"First of {len(ranked)}: **{best['run']}** ({structure}{confidence}).", ""]
    lines += [compare.render(ranked, form="markdown", top=20), ""]
    lines += [*compare.advice(ranked), sentence(same)]
    return "\n".join(lines)
