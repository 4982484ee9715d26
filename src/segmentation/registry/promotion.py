"""Promote a challenger: log the evidence to its run, and ids and lineage to its version."""

from __future__ import annotations

import json

import mlflow
import pandas as pd
from mlflow.entities.model_registry import ModelVersion

from segmentation.errors import GateRefused
from segmentation.experiments.ranking import markdown
from segmentation.model import model_files
from segmentation.registry import aliases, gates, locking, registration, versions
from segmentation.registry.aliases import Promotion
from segmentation.registry.assessment import Assessment, labels
from segmentation.registry.report import all_new_text, lineage_table, promotion_items
from segmentation.registry.versions import NEXT_ID, PROMOTION, Overtaken, Standing
from segmentation.tracking import process, run_logger
from segmentation.tracking.items import Tag
from segmentation.tracking.store import Store, store_errors

#: How often the command assesses a challenger again because the champion has changed.
ATTEMPTS = 5


def promote(store: Store, assessed: Assessment, *, override: str | None = None) -> Promotion:
    """Log the findings to the run and, if all gates pass, make its model the champion.

    Parameters
    ----------
    store : Store
    assessed : Assessment
        From `assess`; its scratch folder must still exist.
    override : str, optional
        Reason to promote although gates fail; stored in the version's tags, with user and time.

    Raises
    ------
    GateRefused
        A gate fails and there is no `override`; the registry is unchanged.
    Overtaken
        The champion, or the segment ids in use, have changed since the assessment; this call has
        not moved the champion, or not for good. If that happened while the findings were being
        written, the run and a version that is not the champion already have them. Assess the
        challenger again, which replaces them.
    """
    outcome = _outcome(assessed, override)
    items = [*promotion_items(assessed, outcome, override), Tag(PROMOTION, outcome)]
    client, name = store.client, assessed.name
    # MLflow looks up a ``models:/m-…`` source in the process's store, not in the client's.
    mlflow.set_tracking_uri(store.uri)
    with store_errors(store.uri):
        if outcome == versions.REFUSED:
            run_logger.write_items(store, assessed.run, items)
            raise GateRefused(refusal(assessed))
        if not assessed.standing.all:
            registration.make_registered_model(client, name)
        with locking.exclusive(client, store.uri, name) as check:
            standing = versions.standing(client, name)
            _check_unchanged(assessed.standing, standing)
            version = _register(store, assessed, standing, override)
            check()
            aliases.check_champion(client, name, assessed.champion)
            # Before the alias moves: a promotion that was cut off later could not be repeated, as
            # the run would be the champion already.
            for folder in assessed.fetched:
                model_files.record(client, folder)
            run_logger.write_items(store, assessed.run, items)
            client.set_model_version_tag(name, version.version, PROMOTION, outcome)
            aliases.make_champion(client, name, version.version, assessed.champion, check)
    previous = assessed.champion
    return Promotion(
        name=name,
        version=int(version.version),
        run_id=str(assessed.run.info.run_id),
        previous=None if previous is None else int(previous.version),
        overridden=tuple(one.gate for one in assessed.failed),
    )


def refusal(assessed: Assessment) -> str:
    """Describe which gates failed and what to do."""
    lines = [
        f"run {assessed.run.info.run_id} was not promoted: {len(assessed.failed)} of "
        f"{len(assessed.answers)} gates failed."
    ]
    for one in assessed.failed:
        asked = f"; required: {one.asked}" if one.asked else ""
        lines.append(f"  {one.gate}: {one.found}{asked}.")
        lines.append(f"    What to do: {one.advice}.")
    lines.append('To promote it anyway: override="the reason", stored with the version.')
    return "\n".join(lines)


def _outcome(assessed: Assessment, override: str | None) -> str:
    if not assessed.failed:
        return versions.PASSED
    return versions.REFUSED if override is None else versions.OVERRIDDEN


def _check_unchanged(then: Standing, now: Standing) -> None:
    """Raise `Overtaken` if the assessment no longer holds."""
    before, after = (one.champion and int(one.champion.version) for one in (then, now))
    if before != after:
        raise Overtaken(
            f"{f'version {after}' if after else 'no version'} of '{now.name}' is the champion "
            f"now; the run was compared with {f'version {before}' if before else 'no champion'}"
        )
    if now.newest > then.newest or now.next_segment_id > then.next_segment_id:
        raise Overtaken(
            f"version {now.newest} of '{now.name}' was made in the meantime; its segment ids must "
            "not be given again"
        )


def _register(
    store: Store, assessed: Assessment, standing: Standing, override: str | None
) -> ModelVersion:
    """Return the challenger's version, whose segment ids no other version has by accident."""
    client, name, run = store.client, assessed.name, assessed.run
    tags = _tags(assessed, override)
    copy = None
    if assessed.earlier is not None:
        source = str(assessed.earlier.source)
    elif assessed.relabelled:
        copy = _log_copy(store, assessed)
        source = f"models:/{copy}"
    else:
        source = f"models:/{assessed.model_id}"
    new_tags = {PROMOTION: versions.UNFINISHED, versions.KNOWN: str(standing.newest)}
    version, is_new = registration.register(
        client,
        run,
        source,
        name,
        tags=tags,
        new_tags=new_tags,
        description=_description(assessed, override),
        known=standing.all,
    )
    if is_new and versions.is_overtaken(version, versions.versions(client, name)):
        client.delete_model_version(name, version.version)
        if copy is not None:
            client.delete_logged_model(copy)
        raise Overtaken(f"another version of '{name}' was made at the same moment")
    next_id = max(assessed.lineage.next_id, standing.next_segment_id)
    client.set_registered_model_tag(name, NEXT_ID, str(next_id))
    return version


def _log_copy(store: Store, assessed: Assessment) -> str:
    """Log and test a copy of the challenger with its new ids; return the copy's id."""
    model_id = model_files.log(
        store.client,
        assessed.folder,
        assessed.run,
        name="promoted",
        tags={"copy_of": assessed.model_id, "registered_model": assessed.name},
    )
    store.client.set_logged_model_tags(assessed.model_id, {"promoted_as": model_id})
    return model_id


def _tags(assessed: Assessment, override: str | None) -> dict[str, str]:
    """Return the version's tags; later promotions read the ids, names and lineage."""
    kept = assessed.champion.tags if assessed.champion is not None else {}
    retired = {*json.loads(kept.get("retired_ids", "[]")), *assessed.lineage.retired}
    tags = {
        **labels(assessed.folder),
        "retired_ids": json.dumps(sorted(retired - set(assessed.folder.ids))),
        NEXT_ID: str(assessed.lineage.next_id),
        "lineage": json.dumps([fate.record() for fate in assessed.lineage.fates]),
        "gates": ", ".join(f"{one.gate}: {one.answer}" for one in assessed.answers),
        "promoted": f"{aliases.now()} by {process.user()}",
        "copy_of": assessed.model_id,
    }
    if assessed.moved is not None:
        tags["moved"] = f"{assessed.moved:.4f}"
    if assessed.failed and override is not None:
        tags["override_reason"] = override
        tags["override_by"], tags["override_at"] = process.user(), aliases.now()
    return tags


def _description(assessed: Assessment, override: str | None) -> str:
    """Describe in Markdown the segments, their lineage, the gates, and any override."""
    # The store cuts long texts: what matters most comes first.
    parts = []
    if assessed.failed and override is not None:
        parts.append(
            f"**Promoted despite {', '.join(one.gate for one in assessed.failed)}** by "
            f"{process.user()} on {aliases.now()}: {override}"
        )
    columns = ["segment", "name", "lineage", "was", "customers_before", "customers_now", "evidence"]
    # Not fillna: pandas 2 warns that it may change the type of a column of objects.
    segments = lineage_table(assessed)[columns].astype(object)
    segments = segments.map(lambda value: "" if pd.isna(value) else value)
    parts += ["**Segments**", all_new_text(assessed), markdown(segments)]
    if assessed.moved is not None:
        assert assessed.champion is not None
        parts.append(
            f"{100 * assessed.moved:.1f} % of the customers change segment compared with version "
            f"{assessed.champion.version}; see `tables/migration.json` of the run."
        )
    answers = gates.table(assessed.answers)[["gate", "answer", "found", "asked"]]
    parts += ["**Gates**", markdown(answers)]
    return "\n\n".join(part for part in parts if part)
