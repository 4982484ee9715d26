"""Log runs to an MLflow store and read them back."""

from __future__ import annotations

import warnings


def __getattr__(name: str) -> object:
    # These two used to be in this module; the old names will be removed in the next release.
    if name not in ("LoggedRun", "log_result"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"segmentation.tracking.{name} has moved: write `from segmentation import {name}`.",
        DeprecationWarning,
        stacklevel=2,
    )
    from segmentation.tracking import run_logger

    return getattr(run_logger, name)
