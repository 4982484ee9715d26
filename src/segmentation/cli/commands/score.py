"""``segment score``: assign every customer in a file to a segment."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import say
from segmentation.config import ScoreConfig, engine_options
from segmentation.data.sources import SOURCES, open_stream
from segmentation.errors import ConfigError
from segmentation.model import flavor, model_files
from segmentation.scoring.chunks import require_headers
from segmentation.scoring.writer import choose_output, reasons, score_file


def run(config: ScoreConfig, call: Call) -> None:
    """Write the scored file and print a summary.

    Raises
    ------
    ConfigError, DataError, RegistryError
        The file cannot be read, scored or written, or there is no such model.
    """
    if config.engine.name == "spark":
        _run_in_spark(config, call)
        return
    output = choose_output(config.out, config.data.path, overwrite=config.overwrite)
    stream = open_stream(config.data)
    loaded = flavor.load(config.model, tracking_uri=call.open_store(config.tracking).uri)
    model = loaded.model
    found = require_headers(stream, model, config.data.rename)
    print(f"{stream.source}: scoring with {loaded.title}", file=sys.stderr, flush=True)
    for note in [*stream.notes, *loaded.notes]:
        print(f"  {note}", file=sys.stderr, flush=True)
    renamed = {h: config.data.rename.get(h.strip(), h.strip()) for h in stream.names}
    ids = [h for h in stream.names if config.data.id in (h.strip(), renamed[h])]
    tally = score_file(
        stream, model, found, output, decimal=config.data.decimal or ".", id=next(iter(ids), None)
    )
    for id_, name in sorted(zip(model.segment_ids.tolist(), model.segment_names, strict=True)):
        size = tally.segments[id_]
        print(f"  {id_}  {size:>8,}  {size / tally.scored:6.1%}  {name}")
    if tally.rejected:
        print(f"Rejected {tally.rejected.total():,} ({reasons(tally)}): {output.rejects}")
    rate = tally.read / max(tally.seconds, 1e-9)
    print(
        f"{tally.scored:,} rows scored, {tally.rejected.total():,} rejected, "
        f"{tally.seconds:.1f} s, {rate:,.0f} rows/s: {output.scored}"
    )
    monitor = call.next("segment monitor data.path=…", config.tracking)
    print(f"Next: compare these customers with the training data: {monitor}")


def _run_in_spark(config: ScoreConfig, call: Call) -> None:
    if "score" not in SOURCES[config.data.source].spark:
        raise ConfigError(
            f"Spark cannot read data.source={config.data.source}: use data=spark_table, or leave "
            "out engine=spark."
        )
    # Imported lazily: Spark is an optional dependency.
    from segmentation.spark.session import open_session

    spark = open_session(engine_options(config.engine), say)
    from segmentation.spark.score import choose_folder, score_table

    out = choose_folder(config.out, overwrite=config.overwrite)
    loaded = flavor.load(config.model, tracking_uri=call.open_store(config.tracking).uri)
    with tempfile.TemporaryDirectory(prefix="segment-") as scratch:
        version = f"models:/{loaded.name}/{loaded.version}"
        uri = config.model if loaded.version is None else version
        folder = model_files.fetch(uri, Path(scratch, "model")).path
        say(f"{config.data.table or config.data.path}: scoring with {loaded.title}")
        for note in loaded.notes:
            say(f"  {note}")
        scored = score_table(
            spark,
            config.data,
            folder,
            [column["name"] for column in loaded.model.columns],
            out,
            overwrite=config.overwrite,
        )
    total = sum(scored.segments.values())
    known = zip(loaded.model.segment_ids.tolist(), loaded.model.segment_names, strict=True)
    for id_, name in sorted(known):
        size = scored.segments.get(id_, 0)
        print(f"  {id_}  {size:>8,}  {size / total:6.1%}  {name}")
    for reason, count in sorted(scored.rejected.items(), key=lambda item: -item[1]):
        print(f"Not scored {count:,}: {reason}")
    rate = scored.rows / max(scored.seconds, 1e-9)
    print(
        f"{total:,} rows scored, {scored.rows - total:,} rejected, {scored.seconds:.1f} s, "
        f"{rate:,.0f} rows/s: {out}"
    )
