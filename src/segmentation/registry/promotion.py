"""Promote a challenger: log the evidence to its run, and ids and lineage to its version."""

from __future__ import annotations

import json
from dataclasses import asdict

import pandas as pd

from segmentation.errors import GateRefused
from segmentation.experiments.ranking import markdown
from segmentation.model import model_files
from segmentation.registry import aliases, gates, versions
from segmentation.registry.aliases import Promotion
from segmentation.registry.assessment import Assessment
from segmentation.tracking import process, run_logger
from segmentation.tracking.items import File, LogItem, Table, Tag
from segmentation.tracking.store import Store, store_errors
from segmentation.visualization import migration, to_png

#: MLflow's own tag for the files that its UI shows as tables.


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
    """
    refused = assessed.failed and override is None
    with store_errors(store.uri):
        items = [*evidence_items(assessed), Tag("promotion", "refused" if refused else "passed")]
        run_logger.write_items(store, assessed.run, items)
        if refused:
            raise GateRefused(refusal(assessed))
        tags = _tags(assessed, override)
        labels = {key: tags[key] for key in ("segment_ids", "segment_names")}
        run_id = assessed.run.info.run_id
        earlier = versions.same_version(store.client, assessed.name, run_id, labels)
        if earlier is not None:
            source = str(earlier.source)
        elif assessed.relabelled:
            source = f"models:/{_log_copy(store, assessed)}"
        else:
            model_files.record(store.client, assessed.model_id, assessed.folder)
            source = f"models:/{assessed.model_id}"
        return aliases.promote(
            run_id,
            tracking_uri=store.uri,
            name=assessed.name,
            source=source,
            tags=tags,
            description=_description(assessed, override),
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


def evidence_items(assessed: Assessment) -> list[LogItem]:
    """Return the tables and figures that show how a challenger was assessed."""
    tables = {"gates": gates.table(assessed.answers), "lineage": lineage_table(assessed)}
    items: list[LogItem] = []
    if assessed.counts is not None:
        tables["migration"] = migration_table(assessed)
        for name, draw in (("migration", migration.heatmap), ("migration_flow", migration.flow)):
            figure = draw(assessed.counts, assessed.names)
            items.append(File(f"figures/{name}.png", to_png(figure)))
    items += [Table(f"tables/{name}.json", frame) for name, frame in tables.items()]
    return items


def lineage_table(assessed: Assessment) -> pd.DataFrame:
    """Return one row per segment with its name, lineage and customers before and now."""
    counts = assessed.counts
    before = {} if counts is None else counts.sum(axis=1).to_dict()
    after = {} if counts is None else counts.sum(axis=0).to_dict()
    rows = [
        {
            "segment": fate.segment,
            "name": assessed.names[fate.segment],
            "lineage": fate.lineage,
            "was": ", ".join(map(str, fate.was)),
            "customers_before": before.get(fate.segment),
            "customers_now": after.get(fate.segment),
        }
        for fate in assessed.lineage.fates
    ]
    table = pd.DataFrame(rows).sort_values("segment", ignore_index=True)
    return table.astype({"customers_before": "Int64", "customers_now": "Int64"})


def migration_table(assessed: Assessment) -> pd.DataFrame:
    """Return one row per pair of segments: ``customers`` and their ``share`` of the first."""
    assert assessed.counts is not None
    rows = []
    for old, row in assessed.counts.iterrows():
        for new, customers in row[row > 0].items():
            rows.append(
                {
                    "from": old,
                    "from_name": assessed.names[int(str(old))],
                    "to": new,
                    "to_name": assessed.names[int(str(new))],
                    "customers": int(customers),
                    "share": float(customers / row.sum()),
                }
            )
    return pd.DataFrame(rows)


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
        "segment_ids": json.dumps(assessed.folder.ids),
        "segment_names": json.dumps(assessed.folder.names, ensure_ascii=False),
        "retired_ids": json.dumps(sorted(retired - set(assessed.folder.ids))),
        "next_segment_id": str(assessed.lineage.next_id),
        "lineage": json.dumps([asdict(fate) for fate in assessed.lineage.fates]),
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
    # Not fillna: pandas 2 warns that it may change the type of a column of objects.
    segments = lineage_table(assessed).astype(object)
    segments = segments.map(lambda value: "" if pd.isna(value) else value)
    parts = ["**Segments**", markdown(segments)]
    if assessed.moved is not None:
        assert assessed.champion is not None
        parts.append(
            f"{100 * assessed.moved:.1f} % of the customers change segment compared with version "
            f"{assessed.champion.version}; see `tables/migration.json` of the run."
        )
    answers = gates.table(assessed.answers)[["gate", "answer", "found", "asked"]]
    parts += ["**Gates**", markdown(answers)]
    if assessed.failed and override is not None:
        parts.append(
            f"**Promoted despite {', '.join(one.gate for one in assessed.failed)}** by "
            f"{process.user()} on {aliases.now()}: {override}"
        )
    return "\n\n".join(parts)
