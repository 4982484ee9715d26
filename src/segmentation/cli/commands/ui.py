"""``segment ui``: the MLflow UI on the store."""

from __future__ import annotations

from segmentation.cli.commands.call import Call
from segmentation.config import UiConfig
from segmentation.tracking import ui


def run(config: UiConfig, call: Call) -> None:
    """Serve until interrupted."""
    ui.serve(call.open_store(config.tracking), host=config.host, port=config.port)
