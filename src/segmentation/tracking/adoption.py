"""Whether a run that somebody else created, such as ``mlflow run``, may be logged to."""

from __future__ import annotations

from mlflow.entities import Run

from segmentation.errors import TrackingError
from segmentation.tracking import process

#: Tags that only a run with a result, a sweep or a monitoring run has.
RESULT_TAGS = ("config_hash", "code_version", "data_sha256", "structure", "study", "kind")
#: MLflow can measure the machine from the moment a run is created.
SYSTEM_METRICS = "system/"


def check_adoptable(run: Run) -> None:
    """Refuse a run that holds a result, or that another process is logging to.

    The params that ``mlflow run`` presets are those of its entry point; they are no result.

    Raises
    ------
    TrackingError
    """
    run_id, tags = str(run.info.run_id), run.data.tags
    if any(not name.startswith(SYSTEM_METRICS) for name in run.data.metrics):
        reason = "already has metrics"
    elif any(name in tags for name in RESULT_TAGS) or (run.outputs and run.outputs.model_outputs):
        reason = "already holds a result"
    elif run.info.status == "FINISHED":
        reason = "is already FINISHED"
    elif run.info.lifecycle_stage != "active":
        reason = "was deleted"
    elif run.info.status == "RUNNING" and process.PID in tags and not process.is_gone(tags):
        if process.is_own(tags):
            return
        reason = f"is being logged by process {tags[process.PID]} on {tags.get(process.HOST)}"
    else:
        return
    raise TrackingError(
        f"MLFLOW_RUN_ID={run_id}: this run {reason}, and logging to it would mix two results. "
        "Unset MLFLOW_RUN_ID, so that a new run is created, or set it to a run without a result."
    )
