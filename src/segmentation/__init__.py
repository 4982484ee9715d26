"""Experiment-tracked K-Means customer segmentation.

In a notebook::

    from segmentation import log_result, segment

    result = segment(frame, features=["age", "income"])
    log_result(result)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segmentation.result import SegmentationResult, segment
    from segmentation.tracking import LoggedRun, log_result

__all__ = ["LoggedRun", "SegmentationResult", "log_result", "segment"]

_HOMES = {
    "LoggedRun": "segmentation.tracking",
    "SegmentationResult": "segmentation.result",
    "segment": "segmentation.result",
    "log_result": "segmentation.tracking",
}


def __getattr__(name: str) -> object:
    # Lazily: `segment --help` imports this package and should not wait for scikit-learn.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
