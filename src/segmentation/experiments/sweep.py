"""A sweep as one study: a parent run with the ranking of its runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from joblib import cpu_count
from mlflow.entities import Run

from segmentation.errors import TrackingError
from segmentation.evaluation.agreement import agreement, sentence
from segmentation.evaluation.formats import short_digest
from segmentation.evaluation.partition import decode
from segmentation.experiments import logged_ranks
from segmentation.experiments import ranking as compare
from segmentation.experiments.advice import advice
from segmentation.experiments.read import CustomerTable
from segmentation.experiments.sweep_report import Place, render_sweep_report
from segmentation.experiments.sweep_session import SweepJob, SweepSession
from segmentation.features.profile_columns import describing
from segmentation.runtime import interrupts
from segmentation.runtime.forks import aside
from segmentation.runtime.threads import at_most
from segmentation.tracking import process, run_logger, runs
from segmentation.tracking.exclusive import exclusive
from segmentation.tracking.heartbeat import Heartbeat
from segmentation.tracking.identity import code_version, versions
from segmentation.tracking.items import File, LogItem, Metric, Param, Table, Tag
from segmentation.tracking.store import Store, store_errors
from segmentation.visualization import data_figures, to_png
from segmentation.visualization import sweep_grid as drawings

#: Number of answers that are compared with each other.
COMPARED_ANSWERS = 8
#: MLflow keeps 6,000 characters of a parameter.
LONGEST_PARAM = 500


def sweep_id(definition: Mapping[str, Any]) -> str:
    """Compute the id of a sweep, a hash of its definition: the same sweep is the same study.

    It starts with a letter, since Hydra reads ``12e45678`` as a number.
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
    params: Mapping[str, str],
    table: CustomerTable | None,
    total: int,
    clean: str = "segment clean",
) -> SweepSession:
    """Open the parent run, or reopen it if the same sweep ran before.

    Parameters
    ----------
    store : Store
    identity : str
        From `sweep_id`.
    name : str
        Name of the parent run.
    question : str
        The question of the sweep, shown on the run's page.
    command : str
        The command that runs it again, without credentials.
    params : mapping of str to str
        Its settings, without credentials.
    table : CustomerTable or None
        The customers that all runs share, whose figures are drawn once here; None if they differ.
    total : int
        Number of configurations of the sweep.
    clean : str
        The command that ends the runs a killed process left in this store.

    Raises
    ------
    TrackingError
        The sweep is running already.
    """
    tags = {"sweep_id": identity, "study": "yes", "question": question, "command": command}
    # Otherwise two commands that start at once would both find no parent, or both reopen it.
    with store_errors(store.uri), exclusive(store, f"sweep.{identity}"):
        found = _parents(store, identity)
        _refuse_if_running(found, identity, clean)
        if found:
            run = found[0]
        else:
            # Tagged with this process from the start, so that it can be recognised as left behind.
            run = store.client.create_run(
                store.experiment_id, run_name=name, tags={**process.tags(), **tags}
            )
        parent = str(run.info.run_id)
        run_logger.reopen(store, parent, tags)
    heartbeat = Heartbeat(store, parent)
    heartbeat.start()
    try:
        with store_errors(store.uri):
            run_logger.write_items(store, run, _parent_items(params, table, draw=not found))
        job = SweepJob(
            sweep_id=identity,
            parent_run_id=parent,
            has_data_figures=table is not None,
            total=total,
            done=0,
            started=time.time(),
        )
        session = SweepSession(store, job, table, heartbeat=heartbeat)
        session.look()
    except BaseException as error:
        heartbeat.stop()
        runs.end(store, parent, "FAILED", f"{type(error).__name__}: {error}")
        raise
    session.job = replace(job, done=len(session.rows))
    return session


def _parent_items(
    params: Mapping[str, str], table: CustomerTable | None, *, draw: bool
) -> Iterator[LogItem]:
    """Yield the settings of the sweep, and its customers with their figures if they are shared."""
    for key, value in params.items():
        yield Param(key, value[:LONGEST_PARAM])
    if table is None:
        return
    customers = table.shared()
    yield Param("data", customers.source)
    yield Param("customers", str(customers.population))
    yield Tag("data_sha256", customers.digest)
    if draw:
        drawn, _ = describing(customers, (), (), None)
        for name, figure in data_figures(customers, drawn).items():
            yield File(f"figures/{name}.png", to_png(figure))


def _parents(store: Store, identity: str) -> list[Run]:
    """Return the parent runs of a sweep, newest first: one, unless made by an earlier version."""
    where = f"tags.sweep_id = '{identity}' and tags.study = 'yes'"
    return list(store.client.search_runs([store.experiment_id], where))


def _refuse_if_running(parents: Iterable[Run], identity: str, clean: str) -> None:
    for run in parents:
        tags = run.data.tags
        state = process.state(tags)
        if run.info.status != "RUNNING" or state is process.State.GONE:
            continue
        unsure = f" If that process is gone: {clean}" if state is process.State.HIDDEN else ""
        raise TrackingError(
            f"sweep {identity} is running already ({process.described(tags)}): wait for it, or "
            f"stop it.{unsure}"
        )


def finish(
    session: SweepSession, status: str = "FINISHED"
) -> tuple[pd.DataFrame, pd.DataFrame, str | None]:
    """Close the parent run with the summary of its runs.

    Parameters
    ----------
    session : SweepSession
    status : {"FINISHED", "FAILED", "KILLED"}
        Not FINISHED if some configurations did not finish.

    Returns
    -------
    ranked : DataFrame
        From `SweepSession.ranking`.
    same : DataFrame
        From `agreement_of_best`.
    report : str or None
        The page's ``file://`` address; None if there is no run or the page is on a server.
    """
    store, job = session.store, session.job
    ranked, same, report = session.ranking(), pd.DataFrame(), None
    with store_errors(store.uri):
        try:
            if not ranked.empty:
                same, report = _summarise(store, ranked, job)
                with contextlib.suppress(TrackingError):
                    logged_ranks.log_new(store, [*session.rows.values()], sweep=ranked)
        finally:
            if session.heartbeat is not None:
                session.heartbeat.stop()
            with interrupts.held():
                if status == "FINISHED":
                    runs.finish(store, job.parent_run_id)
                else:
                    store.client.set_terminated(job.parent_run_id, status)
    if status != "FINISHED" and runs.finished_runs(store, sweep_id=job.sweep_id).empty:
        store.client.delete_run(job.parent_run_id)
    return ranked, same, report


def _summarise(
    store: Store, ranked: pd.DataFrame, job: SweepJob
) -> tuple[pd.DataFrame, str | None]:
    """Log the summary of the ranked runs; return their agreement and the page's address."""
    # One panel per run: as much work as everything else here, while all cores are free.
    with at_most(1), aside(_curves(store, ranked), cpu_count()) as curves:
        same = agreement_of_best(ranked)
        parent = store.client.get_run(job.parent_run_id)
        items = list(_summary(store, ranked, same, parent, job.total, curves))
    run_logger.write_items(store, parent, items)
    return same, runs.artifact_file(store, str(parent.info.artifact_uri), runs.REPORT_FILE)


def question_of(header: Iterable[str]) -> str:
    """Return the question in the header comment of a sweep's YAML file."""
    for line in header:
        if line.startswith("# Question:"):
            return line.removeprefix("# Question:").strip()
    return ""


def agreement_of_best(ranked: pd.DataFrame) -> pd.DataFrame:
    """Compute the adjusted Rand index between the first answers whose partitions are known.

    Parameters
    ----------
    ranked : DataFrame
        From `segmentation.experiments.ranking.rank`.
    """
    best = ranked[ranked["same_as"].isna()].head(COMPARED_ANSWERS)
    read = {f"{row.rank} {row.run}": decode(row.partition) for row in best.itertuples()}
    return agreement({name: found for name, found in read.items() if found is not None})


def _summary(
    store: Store,
    ranked: pd.DataFrame,
    same: pd.DataFrame,
    parent: Run,
    total: int,
    curves: Callable[[], bytes | None],
) -> Iterator[LogItem]:
    question = parent.data.tags.get("question", "")
    yield from _of_first(ranked, total)
    yield Table(
        "tables/ranking.json", ranked.drop(columns=["start", "artifact_uri", *compare.INTERNAL])
    )
    if len(same) > 1:
        yield Table("tables/agreement.json", same.reset_index(names="run"))
    lines = drawings.SWEEP_FIGURES.values()
    drawn = {line.name: line.draw(ranked, same) for line in lines if line.draw is not None}
    pngs = {name: None if figure is None else to_png(figure) for name, figure in drawn.items()}
    # Last, since they are drawn in parallel with all of this.
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
                report=_relative(store, str(parent.info.artifact_uri), str(row.artifact_uri)),
                run=store.link(str(row.run_id)),
            )
            for row in ranked.itertuples()
        },
        meta=_meta(ranked, parent),
    )
    yield File(runs.REPORT_FILE, page.encode())
    yield Tag("mlflow.note.content", _note(question, ranked, same))


def _of_first(ranked: pd.DataFrame, total: int) -> Iterator[LogItem]:
    """Yield the numbers of the parent run: of the sweep, and of its first answer.

    None of them is called ``k``: runs with this metric are rows of the ranking.
    """
    best = ranked.iloc[0]
    yield Metric("configurations", total)
    yield Metric("runs", len(ranked))
    yield Metric("answers", int(ranked["same_as"].isna().sum()))
    for name in ("k", "stability", "gap"):
        if pd.notna(best[name]):
            yield Metric(f"first/{name}", float(best[name]))
    yield Tag("first", str(best["run"]))
    yield Tag("first_structure", str(best["structure"]))


def _curves(store: Store, ranked: pd.DataFrame) -> Callable[[], bytes | None]:
    """Read the curves of the first answers; return a function that draws them.

    The function returns None if no run has its files.
    """
    curves, chosen = {}, {}
    answers = ranked[ranked["same_as"].isna()]
    for row in answers.head(drawings.MOST_PANELS).itertuples():
        table = runs.logged_table(store, str(row.run_id), str(row.artifact_uri), runs.K_FILE)
        if table is not None:
            name = f"{row.rank} {row.run}"
            curves[name] = table.set_index("k").astype(float)
            chosen[name] = int(str(row.k))
    return lambda: to_png(drawings.all_curves(curves, chosen, len(answers))) if curves else None


def _relative(store: Store, parent: str, run: str) -> str:
    """Return the address of a run's report relative to the sweep's; "" if they are not files."""
    here, there = (runs.local_path(store, each) for each in (parent, run))
    if here is None or there is None:
        return ""
    return quote(Path(os.path.relpath(there, here), runs.REPORT_FILE).as_posix())


def _meta(ranked: pd.DataFrame, parent: Run) -> dict[str, str]:
    digests = dict.fromkeys(zip(ranked["data"], ranked["data_sha256"], strict=True))
    return {
        "run": str(parent.info.run_name),
        "command": parent.data.tags.get("command", ""),
        "sweep id": parent.data.tags["sweep_id"],
        "run id": str(parent.info.run_id),
        "data": ", ".join(f"{name} (SHA-256 {short_digest(digest)}…)" for name, digest in digests),
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
    lines += [compare.why_first(ranked), ""]
    lines += [compare.render(ranked, form="markdown", top=20), ""]
    lines += [*advice(ranked), sentence(same)]
    return "\n".join(lines)
