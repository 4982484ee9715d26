"""CPU seconds of `segment compare` and `segment promote` in an experiment of many runs.

    python benchmarks/many_runs.py                  2,000 runs
    python benchmarks/many_runs.py 500 --turns 1

The runs are copies of a sweep on the generated customers, with part of their customers moved to
other segments. `SEGMENT=/path/to/segment` measures another installation, such as an earlier
version, on a store that this one makes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

COPIED = ("runs", "params", "metrics", "latest_metrics", "tags")
PLACES = ("rank", "rank_order", "sweep_rank")
SWEEP = ("sweep=demo", "k.max=6")


def fill(database: Path, count: int) -> None:
    """Copy the finished runs of a store until it has `count`; no copy has a place yet."""
    rng = random.Random(0)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        fitted = "SELECT run_uuid FROM tags WHERE key = 'config_hash'"
        runs = [run for (run,) in connection.execute(fitted)]
        for number in range(count - len(runs)):
            new = uuid.UUID(int=rng.getrandbits(128)).hex
            for table in COPIED:
                copy(connection, table, runs[number % len(runs)], new, rng)


def copy(
    connection: sqlite3.Connection, table: str, run: str, new: str, rng: random.Random
) -> None:
    """Copy the rows of a run as those of another."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    for row in connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run,)).fetchall():
        values = dict(zip(names, row, strict=True)) | {"run_uuid": new}
        if values.get("key") in PLACES:
            continue
        if values.get("key") == "config_hash":
            values["value"] = f"z{new[:15]}"  # the original comes first in a tie
        if values.get("key") == "partition":
            values["value"] = moved(values["value"], rng)
        places = ", ".join("?" * len(names))
        connection.execute(f"INSERT INTO {table} VALUES ({places})", [*values.values()])


def moved(partition: str, rng: random.Random) -> str:
    """Move up to a fifth of the customers of a partition to the segments of others."""
    key, _, labels = partition.partition(":")
    letters = list(labels)
    for _ in range(rng.randrange(len(letters) // 5)):
        letters[rng.randrange(len(letters))] = rng.choice(labels)
    return f"{key}:{''.join(letters)}"


def cpu(*command: str) -> float:
    """Return the CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Make the store and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="?", type=int, default=2000)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    segment = os.environ.get("SEGMENT", str(Path(sys.executable).with_name("segment")))
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "mlflow.db")
        store = [f"tracking.uri=sqlite:///{database}", "tracking.experiment=demo"]
        cpu(str(Path(sys.executable).with_name("segment")), "fit", *SWEEP, *store)
        fill(database, asked.runs)
        print(f"compare, first call: {cpu(segment, 'compare', *store):.1f} s")
        for name, command in {
            "compare": ("compare",),
            "promote dry_run=true": ("promote", "dry_run=true", "promotion.loads=false"),
        }.items():
            turns = [cpu(segment, *command, *store) for _ in range(asked.turns)]
            print(
                f"{name}: {statistics.median(turns):.1f} s ({min(turns):.1f} to {max(turns):.1f})"
            )


if __name__ == "__main__":
    main()
