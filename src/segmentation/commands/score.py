"""``segment score``: the segment of every customer of a file."""

from __future__ import annotations

import sys

from segmentation import flavor
from segmentation.commands.call import Call
from segmentation.commands.customers import open_customers
from segmentation.config import ScoreConfig
from segmentation.score import require_headers
from segmentation.scorefile import choose_output, reasons, score_file


def run(config: ScoreConfig, call: Call) -> None:
    """Write the scored file and say what is in it.

    Raises
    ------
    ConfigError, DataError, RegistryError
        The file cannot be read, scored or written, or there is no such model.
    """
    output = choose_output(config.out, config.data.path, overwrite=config.overwrite)
    stream = open_customers(config.data)
    loaded = flavor.load(config.model, tracking_uri=call.open_store(config.tracking).uri)
    model = loaded.model
    found = require_headers(stream, model, config.data.rename)
    print(f"{stream.source}: scoring with {loaded.title}", file=sys.stderr, flush=True)
    for note in stream.notes:
        print(f"  {note}", file=sys.stderr, flush=True)
    tally = score_file(stream, model, found, output, decimal=config.data.decimal or ".")
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
