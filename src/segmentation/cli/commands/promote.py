"""``segment promote``: check a run against the gates and make it the champion."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import say, ui_hint
from segmentation.config import PromoteConfig
from segmentation.errors import ConfigError, TrackingError
from segmentation.experiments import data_sets, logged_ranks, ranking
from segmentation.experiments.data_sets import DataSet
from segmentation.registry import aliases, assessment, promotion, report, versions
from segmentation.registry.aliases import Promotion
from segmentation.registry.assessment import Assessment
from segmentation.registry.versions import Overtaken
from segmentation.tracking.runs import finished_runs
from segmentation.tracking.store import Store


def run(config: PromoteConfig, call: Call) -> None:
    """Promote the named run, or the first of the ranking of its data.

    Raises
    ------
    ConfigError
        There is no run to promote.
    RegistryError, GateRefused
        See `segmentation.registry.assessment.assess` and `segmentation.registry.promotion.promote`.
    """
    store = call.open_store(config.tracking, existing=True)
    if config.copy_to is not None:
        aliases.check_copy(store.client, config.model, config.copy_to)
    given = {"data": config.data_set, "sweep_id": config.sweep_id}
    for key in [key for key, value in given.items() if value is not None]:
        if config.run_id is not None:
            raise ConfigError(f"{key} cannot be given together with run_id: leave one of them out.")
    run_id = config.run_id or _best(store, config, call)
    champion = versions.champion_version(store.client, config.model)
    # Nothing to promote, only to copy: an earlier copy was interrupted, or was not requested.
    if config.copy_to and champion is not None and champion.run_id == run_id:
        if not config.dry_run:
            _copy(store, config)
        return
    done = _promoted(store, config, run_id)
    if done is None:
        return
    was = f" (was version {done.previous})" if done.previous else ""
    failed = ", ".join(done.overridden)
    despite = f", although gates failed ({failed}); the reason is stored with it" if failed else ""
    print(f"{done.name} version {done.version} is champion now{was}{despite}.")
    print(f"Run:    {store.link(run_id)}{ui_hint(store, call, config.tracking)}")
    print("Load it anywhere with mlflow, scikit-learn and skops:")
    print(f'  mlflow.set_tracking_uri("{store.uri}")')
    print(f'  mlflow.pyfunc.load_model("{done.uri}").predict(customers)')
    if config.copy_to:
        _copy(store, config)
    if done.previous:
        print(f"Undo:   {call.next('segment rollback', config.tracking)}")


def _promoted(store: Store, config: PromoteConfig, run_id: str) -> Promotion | None:
    """Assess and promote the run, again if the champion changes meanwhile; None if it is dry."""
    for attempt in range(promotion.ATTEMPTS):
        with tempfile.TemporaryDirectory(prefix="segment-") as folder:
            assessed = assessment.assess(
                store,
                run_id,
                name=config.model,
                rules=config.promotion,
                scratch=Path(folder),
                trust=config.trust,
                say=say,
            )
            _show(assessed)
            if config.dry_run:
                print(_would(assessed, config.override))
                return None
            try:
                return promotion.promote(store, assessed, override=config.override)
            except Overtaken as error:
                if attempt == promotion.ATTEMPTS - 1:
                    raise
                print(f"Assessing the run again: {error.reason}.")
    raise AssertionError("unreachable")


def _best(store: Store, config: PromoteConfig, call: Call) -> str:
    """Return the id of the first run on the chosen data, or on the only data there is."""
    runs = finished_runs(store, sweep_id=config.sweep_id)
    ranked = ranking.rank(runs)
    if ranked.empty:
        where = f"experiment {store.experiment!r}"
        if config.sweep_id is not None:
            where = f"sweep {config.sweep_id} of {where}"
        raise ConfigError(
            f"there is no finished run in {where} to promote. Make "
            "one with `segment fit`, or name one with run_id=…"
        )
    if config.sweep_id is None and not config.dry_run:
        with contextlib.suppress(TrackingError):
            logged_ranks.log_all(store, ranked)
    if config.data_set is not None:
        return str(data_sets.choose(ranked, config.data_set).runs.iloc[0]["run_id"])
    sets = data_sets.split(ranked)
    if len(sets) > 1:
        raise ConfigError(_several(sets, call))
    return str(ranked.iloc[0]["run_id"])


def _several(sets: Sequence[DataSet], call: Call) -> str:
    """Return the message that runs of several data sets cannot be compared, with a command each."""
    given = [each for each in call.overrides if not each.startswith("sweep_id=")]
    lines = [
        f"these runs used {len(sets)} data sets, and runs on different customers cannot be "
        "compared. Choose one, or take the newest data with data=newest:"
    ]
    for each in sets:
        best = each.runs.iloc[0]
        command = shlex.join(["segment", "promote", *given, f"run_id={best['run_id']}"])
        lines += [f"  {best['run']} on {each.title}:", f"    {command}"]
    return "\n".join(lines)


def _copy(store: Store, config: PromoteConfig) -> None:
    assert config.copy_to is not None
    done = aliases.copy_champion(
        tracking_uri=store.uri, name=config.model, copy_to=config.copy_to, trust=config.trust
    )
    print(f"{done.name} version {done.version} is champion now, a copy of {config.model}.")


def _show(assessed: Assessment) -> None:
    against = (
        "the first champion"
        if assessed.champion is None
        else (f"against version {assessed.champion.version}")
    )
    print(f"{assessed.name}: {assessed.run.info.run_name} ({against})")
    made_of = assessed.run.data
    names = (made_of.params.get("data"), made_of.tags.get("data_sha256"))
    print(f"Data: {data_sets.title(*names, made_of.params.get('customers'))}")
    print("Gates:")
    for one in assessed.answers:
        asked = f"   (required: {one.asked})" if one.asked else ""
        print(f"  {one.answer:<18}  {one.gate:<14}  {one.found}{asked}")
    print("Segments:")
    if text := report.all_new_text(assessed):
        print(f"  {text}")
    for row in report.lineage_table(assessed).to_dict("records"):
        was = f" (segment {row['was']})" if row["was"] else ""
        print(f"  {row['segment']:>3}  {row['lineage']:<6}  {row['name']}{was}")
        if row["evidence"]:
            print(f"{'':13}{row['evidence']}")
    if assessed.counts is None or assessed.moved is None:
        return
    print(f"Migration: {100 * assessed.moved:.1f} % of the customers change their segment.")
    for row in report.migration_table(assessed).to_dict("records"):
        if row["from"] != row["to"]:
            share = f"{100 * row['share']:.1f} % of it"
            print(f"  {row['from']:>3} -> {row['to']:<3} {row['customers']:>9,}  {share}")


def _would(assessed: Assessment, override: str | None) -> str:
    if not assessed.failed:
        return "Nothing was changed. To promote it, run the same command without dry_run."
    if override is not None:
        return "Nothing was changed. It would be promoted although gates failed."
    lines = [f"  {one.gate}: {one.advice}" for one in assessed.failed]
    return "\n".join(["Nothing was changed. It would be refused. What to do:", *lines])
