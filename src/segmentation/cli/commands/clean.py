"""``segment clean``: end the runs that a killed process left behind."""

from __future__ import annotations

from pathlib import Path

from segmentation.cli.commands.call import Call
from segmentation.cli.commands.output import passing, say
from segmentation.config import CleanConfig
from segmentation.errors import ConfigError
from segmentation.tracking import relocation
from segmentation.tracking.left_behind import mark_left_behind, mark_silent, unseen
from segmentation.tracking.store import SQLITE, Store, without_password


def run(config: CleanConfig, call: Call) -> None:
    """Mark the runs KILLED and print how many there were."""
    store = call.open_store(config.tracking, existing=True, say_moved=not config.relocate)
    if config.relocate:
        _relocate(store)
    count = mark_left_behind(store)
    hidden = unseen(store)
    watched = len(hidden.watched)
    if watched and config.wait:
        say(
            f"{watched} runs belong to processes on another host or in another container: "
            "watching them for a sign of life (wait=false skips this)"
        )
        try:
            marked = mark_silent(store, hidden.watched, passing)
        finally:
            passing("")
        count, watched = count + marked, watched - marked
    runs = {0: "No run was", 1: "1 run was"}.get(count, f"{count} runs were")
    print(
        f"{runs} left behind in experiment {store.experiment!r}"
        f"{' and marked KILLED' if count else ''}."
    )
    if watched and config.wait:
        print(f"{watched} runs on other hosts or in other containers are alive.")
    elif watched:
        print(
            f"{watched} runs on other hosts or in other containers were not watched (wait=false)."
        )
    if hidden.unknown:
        print(
            f"{hidden.unknown} runs are RUNNING in a process that cannot be seen from here and "
            "gives no sign of life: end them in the MLflow UI if you know that it has ended."
        )
    if count:
        print("Run the sweep's command again to fit what is missing.")


def _relocate(store: Store) -> None:
    if store.place is None:
        raise ConfigError(
            f"relocate=true: {without_password(store.uri)} is not a SQLite file. Only those are "
            "moved together with their artifacts."
        )
    rewritten, kept = relocation.relocate(Path(store.uri.removeprefix(SQLITE)), store.place)
    if rewritten:
        print(f"{rewritten} records now point to {store.place.here}.")
    elif not kept:
        print(f"Nothing to rewrite: the records point to {store.place.here} already.")
    if kept:
        print(f"{kept} were kept, since their files are not there; move these files first.")
