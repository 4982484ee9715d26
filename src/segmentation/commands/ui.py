"""``segment ui``: the MLflow UI on the store."""

from __future__ import annotations

from segmentation import ui
from segmentation.commands.call import Call
from segmentation.config import UiConfig


def run(config: UiConfig, call: Call) -> None:
    """Serve until interrupted."""
    ui.serve(call.open_store(config.tracking), host=config.host, port=config.port)
