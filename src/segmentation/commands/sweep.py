"""A multirun of ``segment fit``: open the study before its jobs, rank them after."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from segmentation import compare, fit, study
from segmentation import config as schema
from segmentation.commands.call import Call, SweepDefinition
from segmentation.commands.output import print_best, ui_hint
from segmentation.fit import SweepJob
from segmentation.store import Store

#: Tells the jobs of a sweep, which may run in other processes, which sweep they belong to.
SWEEP_VARIABLE = "SEGMENT_SWEEP"
#: What `mlflow run` presets; a sweep makes one run for each configuration instead.
MLFLOW_RUN_VARIABLES = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")

# The sweep this process has opened: Hydra gives its callbacks no other place to keep it.
_open: list[tuple[Store, SweepJob]] = []


def current_job() -> SweepJob | None:
    """The sweep this job belongs to, if it does."""
    text = os.environ.get(SWEEP_VARIABLE)
    return None if text is None else SweepJob(**json.loads(text))


def start(sweep: SweepDefinition, call: Call) -> None:
    """Read the data and open the parent run, once, before any job."""
    for variable in MLFLOW_RUN_VARIABLES:
        os.environ.pop(variable, None)
    base = dict(sweep.base)
    customers = None
    if not any(key.split(".")[0] == "data" for key in sweep.swept):
        data = schema.load({"data": base["data"]}, schema.DataOnly).data
        customers = fit.read_customers(data, None)
    tracking = schema.load({"tracking": base.pop("tracking")}, schema.PromoteConfig).tracking
    store = call.open_store(tracking)
    definition = {"base": base, "params": dict(sweep.params), "overrides": list(sweep.overrides)}
    identity = study.sweep_id(definition)
    name = sweep.name or ", ".join(dict.fromkeys(sweep.swept)) or "sweep"
    lines = sweep.file.read_text(encoding="utf-8").splitlines() if sweep.file.is_file() else []
    job = study.start(store, identity, name, customers, study.question_of(lines))
    os.environ[SWEEP_VARIABLE] = json.dumps(asdict(job))
    _open.append((store, job))
    print(f"sweep {name} ({identity})", file=sys.stderr, flush=True)


def finish() -> None:
    """Close the parent run and print the ranking of its runs."""
    store, job = _open.pop()
    ranked = study.finish(store, job)
    print()
    print(compare.render(ranked, form="table", top=20))
    print_best(ranked, f"segment compare sweep_id={job.sweep_id}")
    print(f"Sweep:  {store.link(job.parent_run_id)}{ui_hint(store)}")


def close() -> None:
    """End a sweep that was interrupted or whose jobs failed; nothing stays RUNNING."""
    os.environ.pop(SWEEP_VARIABLE, None)
    while _open:
        store, job = _open.pop()
        study.abort(store, job, "FAILED")
