"""Code of others that an interrupt must not break into, known by its names.

SQLAlchemy, MLflow's stores and `concurrent.futures` have no way to say so.
"""

from __future__ import annotations

from types import FrameType


def must_not_break(frame: FrameType | None) -> bool:
    """Whether a lock would stay behind if this frame, or one that called it, did not return."""
    while frame is not None:
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        # MLflow's stores are named after it: mlflow.store.tracking.sqlalchemy_store.
        if "sqlalchemy" in module:
            return True
        if module == "concurrent.futures.thread" and function == "_adjust_thread_count":
            return True
        frame = frame.f_back
    return False
