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
    from segmentation.features.feature_set import FeatureSet
    from segmentation.pipeline import segment
    from segmentation.profiling.naming import Naming
    from segmentation.result import SegmentationResult
    from segmentation.tracking.run_logger import LoggedRun, log_result

__all__ = ["FeatureSet", "LoggedRun", "Naming", "SegmentationResult", "log_result", "segment"]

_HOMES = {
    "FeatureSet": "segmentation.features.feature_set",
    "LoggedRun": "segmentation.tracking.run_logger",
    "Naming": "segmentation.profiling.naming",
    "SegmentationResult": "segmentation.result",
    "log_result": "segmentation.tracking.run_logger",
    "segment": "segmentation.pipeline",
}


def __getattr__(name: str) -> object:
    # Lazily: `segment --help` imports this package and should not wait for scikit-learn.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
