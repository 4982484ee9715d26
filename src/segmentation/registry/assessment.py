"""Assess a challenger: match it to the champion, compare the two, and check the gates."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from segmentation.data.customers import Customers
from segmentation.errors import GateRefused, SegmentationError, UntrustedConfigError
from segmentation.experiments import stored_config
from segmentation.experiments.read import CustomerTable, stored_table
from segmentation.model import model_files
from segmentation.model.model_files import ModelFolder
from segmentation.registry import comparison, gates, lineage, versions
from segmentation.registry.comparison import Compared, compare
from segmentation.registry.gates import GATES, Answer, Findings
from segmentation.registry.lineage import Lineage
from segmentation.registry.versions import Standing
from segmentation.runtime.progress import Say, silent
from segmentation.tracking.store import Store, store_errors


@dataclass(frozen=True)
class Assessment:
    """A challenger as it would be promoted, and whether it may be. Nothing has been changed.

    Attributes
    ----------
    run : Run
    model_id : str
        The run's logged model.
    name : str
        Registered model.
    standing : Standing
        The registered model as it was when the assessment began.
    folder : ModelFolder
        The challenger's files with the ids and names it would have.
    relabelled : bool
        Whether these differ from the ones it was logged with.
    earlier : ModelVersion or None
        Its version with these ids and names, left by an earlier promotion.
    fetched : tuple of ModelFolder
        All models whose files were checked, as they are stored.
    lineage : Lineage
    names : dict of int to str
        Name of every segment id, old and new.
    all_new : str or None
        Why every segment is new, if the champion could not label the challenger's customers.
    counts : DataFrame or None
        Customers by old id (rows) and new id (columns); None when they could not be compared.
    moved : float or None
        Share of the customers whose id changes.
    answers : tuple of Answer
    """

    run: Run
    model_id: str
    name: str
    standing: Standing
    folder: ModelFolder
    relabelled: bool
    earlier: ModelVersion | None
    fetched: tuple[ModelFolder, ...]
    lineage: Lineage
    names: dict[int, str]
    all_new: str | None
    counts: pd.DataFrame | None
    moved: float | None
    answers: tuple[Answer, ...]

    @property
    def champion(self) -> ModelVersion | None:
        """The champion it was compared with."""
        return self.standing.champion

    @property
    def failed(self) -> tuple[Answer, ...]:
        """The gates that refuse."""
        return tuple(answer for answer in self.answers if answer.failed)


def assess(
    store: Store,
    run_id: str,
    *,
    name: str,
    rules: object,
    scratch: Path,
    trust: bool = False,
    say: Say = silent,
) -> Assessment:
    """Check a run's model against the gates and compare it with the champion.

    Parameters
    ----------
    store : Store
    run_id : str
        A finished run with a model.
    name : str
        Registered model.
    rules : object
        Limits of the gates, see `segmentation.registry.gates.rules`.
    scratch : Path
        An empty folder for the files of both models; `promote` needs them.
    trust : bool
        Accept models without digests of their files, and connect to a stored address.
    say : callable
        Receives a line that names such an address.

    Raises
    ------
    RegistryError
        The run or a model cannot be used.
    UntrustedConfigError
        The run's stored config is not trusted.
    GateRefused
        The run is already the champion.
    """
    mlflow.set_tracking_uri(store.uri)
    with store_errors(store.uri):
        run = versions.finished_run(store.client, run_id)
        model_id = versions.model_of(store.client, run)
        standing = versions.standing(store.client, name)
    champion = standing.champion
    if champion is not None and champion.run_id == run_id:
        raise GateRefused(
            f"run_id={run_id}: its model is already the champion of '{name}' "
            f"(version {champion.version}); there is nothing to promote. Fit another run, or "
            "choose one from `segment compare`."
        )
    folder = model_files.fetch(f"models:/{model_id}", scratch / "challenger", trust=trust)
    old, fetched = None, [folder]
    if champion is not None:
        uri = f"models:/{name}/{champion.version}"
        old = model_files.fetch(uri, scratch / "champion", trust=trust)
        fetched.append(old)
    table, customers, problem = _customers(store, run, folder.columns, trust, say)
    compared = compare(table, customers, problem, folder, old)
    matched = _match(run.info.run_id, standing, compared, folder, old)
    counts = None if compared.overlap is None else compared.overlap.counts
    names = _names(matched, folder, old)
    relabelled = (matched.ids, names) != (folder.ids, folder.names)
    moved = None if counts is None else lineage.moved(counts, matched.ids)
    findings = replace(
        _findings(run, problem, folder, compared, rules),
        first=champion is None,
        moved=moved,
    )
    if relabelled:
        folder = model_files.relabel(folder, matched.ids, names)
    earlier = standing.same_version(run_id, labels(folder))
    if earlier is not None and earlier.source != f"models:/{model_id}":
        # These files would become the champion's, not those of the run's own model.
        copy = model_files.fetch(str(earlier.source), scratch / "earlier", trust=trust)
        fetched.append(copy)
    if _asked("loads", rules):
        findings = replace(findings, load_problem=model_files.fresh_process_problem(folder))
    if counts is not None:
        counts = counts.set_axis(list(matched.ids), axis=1)
    known = dict(zip(old.ids, old.names, strict=True)) if old is not None else {}
    return Assessment(
        run=run,
        model_id=model_id,
        name=name,
        standing=standing,
        folder=folder,
        relabelled=relabelled,
        earlier=earlier,
        fetched=tuple(fetched),
        lineage=matched,
        all_new=compared.problem if old is not None else None,
        names={**known, **dict(zip(folder.ids, folder.names, strict=True))},
        counts=counts,
        moved=moved,
        answers=tuple(gates.check(findings, rules)),
    )


def labels(folder: ModelFolder) -> dict[str, str]:
    """Return the tags of a version with the ids and names of this folder."""
    return {
        "segment_ids": json.dumps(folder.ids),
        "segment_names": json.dumps(folder.names, ensure_ascii=False),
    }


def _customers(
    store: Store, run: Run, columns: tuple[str, ...], trust: bool, say: Say
) -> tuple[CustomerTable | None, Customers | None, str | None]:
    """Return the run's table and its customers, or why they are no longer available."""
    try:
        stored = stored_config.for_customers(store, run, trust=trust, say=say)
        table = stored_table(stored)
        customers = table.customers(_read_columns(stored))
    except UntrustedConfigError:
        raise
    except SegmentationError as error:
        return None, None, f"the run's customers cannot be read again ({error})"
    if customers.digest != run.data.tags.get("data_sha256"):
        problem = f"{customers.source} has changed since the run was made"
        return None, None, problem
    if any(column not in customers.frame for column in columns):
        return None, None, f"{customers.source} lacks columns of the model"
    return table, customers, None


def _read_columns(stored: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the columns the fit read from the file, which determine the customers it dropped."""
    features = stored["features"]
    if features["columns"] is None and stored["data"].get("default_features"):
        features = {**features, **stored["data"]["default_features"]}
    if not features["columns"]:
        return None
    return tuple(features["columns"])


def _match(
    run_id: str,
    standing: Standing,
    compared: Compared,
    folder: ModelFolder,
    old: ModelFolder | None,
) -> Lineage:
    """Return the lineage; every segment is new if the champion could not label the customers."""
    used, earlier = standing.next_segment_id, standing.earlier_ids(run_id)
    if old is None and not used:
        return lineage.unchanged(folder.ids)
    if old is None:  # the champion was deleted, but its ids may still be in use elsewhere
        return lineage.all_new((), len(folder.ids), used=used, earlier=earlier)
    if compared.overlap is None:
        return lineage.all_new(old.ids, len(folder.ids), used=used, earlier=earlier)
    return lineage.match(compared.overlap, used=used, earlier=earlier)


def _names(matched: Lineage, folder: ModelFolder, old: ModelFolder | None) -> tuple[str, ...]:
    # A name must use the model's columns: "gender Female" is wrong for a model without gender.
    if old is None or set(old.columns) != set(folder.columns):
        return folder.names
    return lineage.keep_names(matched.ids, folder.names, dict(zip(old.ids, old.names, strict=True)))


def _findings(
    run: Run,
    problem: str | None,
    folder: ModelFolder,
    compared: Compared,
    rules: object,
) -> Findings:
    """Collect everything that the gates need, except what depends on the new ids."""
    tags, metrics = run.data.tags, run.data.metrics
    tested = {"yes": True, "no": False}.get(tags.get("structure", ""))
    found = Findings(
        first=False,
        structure=tested,
        structure_reason=f"the run found {'' if tested else 'no '}cluster structure",
        one_column=tags.get("careful"),
        stability=metrics.get("stability"),
        smallest_share=metrics.get("smallest_share"),
        differs=compared.differs,
        incomparable=compared.problem,
        data_problem=problem,
        metrics=metrics,
        tags=tags,
    )
    if tested is None:
        found = replace(found, structure_reason=f"the run did not test it, and {problem}")
    if compared.frame is None or compared.challenger is None:
        return found
    frame, index = compared.frame, compared.challenger
    seed = int(run.data.params.get("seed", 0))
    if tested is None and _asked("structure", rules):
        k_max = int(run.data.params.get("k_max", len(folder.ids)))
        gate = comparison.structure(folder.pipeline(), frame, k_max=k_max, seed=seed)
        found = replace(found, structure=gate.structure, structure_reason=gate.reason)
    if found.stability is None and _asked("stability", rules) and len(folder.ids) > 1:
        measured = comparison.stability(folder.pipeline(), frame, seed=seed)
        found = replace(found, stability=measured.stability)
    if found.smallest_share is None:
        sizes = np.bincount(index, minlength=len(folder.ids))
        found = replace(found, smallest_share=float(sizes.min() / len(index)))
    if compared.champion is None or not _asked("quality", rules):
        return found
    X = comparison.reference_space(frame, compared.columns)
    ours, theirs = comparison.silhouettes(X, index, compared.champion, seed=seed)
    return replace(
        found,
        silhouette=ours,
        champion_silhouette=theirs,
        champion_single=compared.champion_single,
    )


def _asked(gate: str, rules: object) -> bool:
    """Return whether a gate is on; what it needs may take long to compute."""
    return GATES[gate].limit(rules) is not None
