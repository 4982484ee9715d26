"""Third-party code that must not be interrupted, identified by its names.

SQLAlchemy, MLflow's stores and `concurrent.futures` offer no public way to find this out.
"""

from __future__ import annotations

from types import FrameType


def must_not_break(frame: FrameType | None) -> bool:
    """Return whether interrupting this frame, or one of its callers, would leave a lock behind."""
    while frame is not None:
        module, function = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        # MLflow's stores are named after it: mlflow.store.tracking.sqlalchemy_store.
        if "sqlalchemy" in module:
            return True
        if module == "concurrent.futures.thread" and function == "_adjust_thread_count":
            return True
        frame = frame.f_back
    return False
