"""``segment monitor``: compare new customers with those the champion was trained on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator

from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import ui_hint
from segmentation.config import MonitorConfig, MonitoringConfig
from segmentation.data.sources import open_stream
from segmentation.errors import ConfigError, DataError, GateRefused
from segmentation.model import flavor
from segmentation.monitoring.monitor import VERDICTS, monitor
from segmentation.monitoring.report import monitor_items
from segmentation.runtime.redaction import masked
from segmentation.scoring.chunks import Progress, ScoredChunk, Tally, headers, scored_chunks
from segmentation.scoring.writer import reasons
from segmentation.tracking import run_logger, runs
from segmentation.tracking.identity import versions


def run(config: MonitorConfig, call: Call) -> None:
    """Compare, log a run, and print the verdict.

    Raises
    ------
    ConfigError, DataError, RegistryError
        The customers cannot be read, or there is no such model.
    GateRefused
        The verdict is as bad as `fail_on` or worse; the run is logged anyway.
    """
    _check(config)
    stream = open_stream(config.data)
    store = call.open_store(config.tracking)
    loaded = flavor.load(config.model, tracking_uri=store.uri)
    found = headers(stream, loaded.model, config.data.rename)
    missing = tuple(c["name"] for c in loaded.model.columns if c["name"] not in found)
    print(f"{stream.source}: comparing with {loaded.title}", file=sys.stderr, flush=True)
    for note in [*stream.notes, *loaded.notes]:
        print(f"  {note}", file=sys.stderr, flush=True)
    chunks = scored_chunks(stream, loaded.model, found, decimal=config.data.decimal or ".")
    monitored = monitor(_with_progress(chunks), loaded.model, config.monitoring, missing=missing)
    if monitored.now + monitored.rejected.total() == 0:
        raise DataError(f"{stream.source} has a header but no customers below it.")
    meta = {
        "run": f"monitor·{stream.source}",
        "model": loaded.title,
        "data": stream.source,
        "command": masked(f"segment monitor {shlex.join(call.overrides)}", config.data.url),
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    tags = {"mlflow.source.name": "segment monitor"}
    if loaded.version is not None:
        tags |= {"model": loaded.name, "model_version": loaded.version}
    if loaded.run_id is not None:
        tags["model_run_id"] = loaded.run_id
    with run_logger.tracked_run(store, meta["run"], tags=tags) as run:
        items = list(monitor_items(monitored, config.monitoring, meta=meta))
        run_logger.write_items(store, run, items)
    link = store.link(str(run.info.run_id))
    print(f"{monitored.verdict}: {monitored.sentence}")
    for row in monitored.segments.to_dict("records"):
        now = f"{row['now']:6.1%}" if monitored.now else "     –"
        print(f"  {row['segment']}  {row['then']:6.1%} -> {now}  {row['name']}")
    if monitored.rejected:
        count = monitored.rejected.total()
        kinds = reasons(Tally(rejected=monitored.rejected))
        print(f"  {count:,} rows could not be scored ({kinds})")
    report = runs.artifact_file(store, str(run.info.artifact_uri), runs.REPORT_FILE)
    print(f"Report: {report or link}")
    print(f"Run:    {link}{ui_hint(store, call, config.tracking)}")
    print(f"Next:   {monitored.advice}", flush=True)
    if config.fail_on and VERDICTS.index(monitored.verdict) >= VERDICTS.index(config.fail_on):
        raise GateRefused(f"fail_on={config.fail_on}: the verdict is {monitored.verdict}.")


def _check(config: MonitorConfig) -> None:
    if config.fail_on not in (None, *VERDICTS[1:]):
        raise ConfigError(f"fail_on={config.fail_on}: allowed are {', '.join(VERDICTS[1:])}.")
    rules: MonitoringConfig = config.monitoring
    if not 0 < rules.confidence < 1:
        raise ConfigError(
            f"monitoring.confidence={rules.confidence}: must be a number between 0 and 1, "
            "such as 0.99."
        )
    for name in ("psi", "share", "distance", "out_of_range", "rejected"):
        limits = getattr(rules, name)
        if not 0 <= limits.watch <= limits.retrain:
            raise ConfigError(
                f"monitoring.{name}: watch={limits.watch:g} must be at least 0 and not above "
                f"retrain={limits.retrain:g}."
            )


def _with_progress(chunks: Iterable[ScoredChunk]) -> Iterator[ScoredChunk]:
    progress, tally = Progress(), Tally()
    for chunk in chunks:
        yield chunk
        tally.add(chunk)
        progress.say(tally, chunk.read)
