"""The old home of `segmentation.clustering.ENGINES`; it goes with the next release."""

from __future__ import annotations

import warnings

from segmentation.clustering import ENGINES

__all__ = ["ENGINES"]

warnings.warn(
    "segmentation.engines is now segmentation.clustering: "
    "write `from segmentation.clustering import ENGINES`.",
    DeprecationWarning,
    stacklevel=2,
)
