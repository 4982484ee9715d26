"""``segment clean``: end the runs that a killed process left behind."""

from __future__ import annotations

from segmentation.cli.commands.call import Call
from segmentation.config import CleanConfig
from segmentation.tracking.runs import mark_left_behind


def run(config: CleanConfig, call: Call) -> None:
    """Mark the runs KILLED and print how many there were."""
    store = call.open_store(config.tracking)
    count = mark_left_behind(store)
    print(f"{count} runs left behind in experiment {store.experiment!r}: marked KILLED.")
    if count:
        print("Run the sweep's command again to fit what is missing.")
