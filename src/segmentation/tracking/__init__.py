"""What is logged, and where."""

from __future__ import annotations

import warnings


def __getattr__(name: str) -> object:
    # The old home of these two was this module; it goes with the next release.
    if name not in ("LoggedRun", "log_result"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"segmentation.tracking.{name} has moved: write `from segmentation import {name}`.",
        DeprecationWarning,
        stacklevel=2,
    )
    from segmentation.tracking import run_logger

    return getattr(run_logger, name)
