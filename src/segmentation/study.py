"""A sweep as one study: a parent run above its runs, with the ranking that answers its question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from mlflow.entities import RunTag

from segmentation import compare, tracking
from segmentation.data import Customers
from segmentation.figures import to_png
from segmentation.figures.customers import distributions
from segmentation.fit import SweepJob
from segmentation.logged import File, Table
from segmentation.store import Store, store_errors


def sweep_id(definition: Mapping[str, Any]) -> str:
    """Id of a sweep: a hash of its definition, so that the same sweep is the same study.

    Starts with a letter, since Hydra reads ``12e45678`` as a number.
    """
    content = json.dumps(definition, sort_keys=True, default=str)
    return "s" + hashlib.sha256(content.encode()).hexdigest()[:11]


def start(
    store: Store, identity: str, name: str, customers: Customers | None, question: str
) -> SweepJob:
    """Open the parent run, or reopen it when the same sweep ran before.

    Parameters
    ----------
    store : Store
    identity : str
        From `sweep_id`.
    name : str
        Name of the parent run.
    customers : Customers or None
        The customers all runs share, whose figures are drawn here once; None when they differ.
    question : str
        What the sweep asks; shown on the run's page.
    """
    client = store.client
    with store_errors(store.uri):
        found = client.search_runs(
            [store.experiment_id],
            f"tags.sweep_id = '{identity}' and tags.study = 'yes'",
            max_results=1,
        )
        tags = {"sweep_id": identity, "study": "yes", "question": question}
        if found:
            parent = str(found[0].info.run_id)
            client.update_run(parent, status="RUNNING")
            client.log_batch(parent, tags=[RunTag(k, v) for k, v in tags.items()])
        else:
            parent = str(
                client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id
            )
        if customers is not None:
            png = to_png(distributions(customers.frame))
            tracking.write_items(store, parent, [File("figures/distributions.png", png)])
    return SweepJob(identity, parent, has_data_figures=customers is not None)


def finish(store: Store, job: SweepJob) -> pd.DataFrame:
    """Close the parent run with the ranking of its runs as table and note; returns the ranking."""
    runs = tracking.finished_runs(store, sweep_id=job.sweep_id)
    ranked = compare.rank(runs)
    with store_errors(store.uri):
        if not ranked.empty:
            shown = ranked.drop(columns=["start", "artifact_uri", "data_sha256"])
            tracking.write_items(store, job.parent_run_id, [Table("tables/ranking.json", shown)])
            question = store.client.get_run(job.parent_run_id).data.tags.get("question", "")
            note = _note(question, ranked)
            store.client.set_tag(job.parent_run_id, "mlflow.note.content", note)
        store.client.set_terminated(job.parent_run_id, "FINISHED")
    return ranked


def abort(store: Store, job: SweepJob, status: str) -> None:
    """Close the parent run of a sweep that did not get through; drop it when nothing ran."""
    with store_errors(store.uri):
        children = store.client.search_runs(
            [store.experiment_id],
            f"tags.`mlflow.parentRunId` = '{job.parent_run_id}'",
            max_results=1,
        )
        store.client.set_terminated(job.parent_run_id, status)
        if not children:
            store.client.delete_run(job.parent_run_id)


def question_of(header: Iterable[str]) -> str:
    """The question a sweep's YAML file states in its header comment."""
    for line in header:
        if line.startswith("# Question:"):
            return line.removeprefix("# Question:").strip()
    return ""


def _note(question: str, ranked: pd.DataFrame) -> str:
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
    lines += compare.advice(ranked)
    return "\n".join(lines)
