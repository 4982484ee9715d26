"""Log a result as an MLflow run that always ends, in few calls to the store."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mlflow.entities import Dataset, DatasetInput, Run, RunData, RunTag
from mlflow.entities import Metric as MlflowMetric
from mlflow.entities import Param as MlflowParam
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo
from sqlalchemy.exc import SQLAlchemyError

from segmentation.evaluation.formats import short_digest
from segmentation.model import flavor
from segmentation.model.packaging import portable_model
from segmentation.result import SegmentationResult
from segmentation.runtime import interrupts
from segmentation.tracking import process, relocation, runs
from segmentation.tracking._compat import TABLES_TAG, tables_tag
from segmentation.tracking.adoption import check_adoptable
from segmentation.tracking.heartbeat import Heartbeat
from segmentation.tracking.identity import code_version, config_hash, versions
from segmentation.tracking.items import File, LogItem, Metric, Param, Table, Tag
from segmentation.tracking.run_items import DrawnFigures, iter_log_items, run_name
from segmentation.tracking.store import Store, open_store, resolve_uri, store_errors

#: Number of rows the logged model must predict correctly before its run is finished.
VERIFIED_ROWS = 10_000
DATASET_ATTEMPTS = 4
#: libyaml's dumper, if PyYAML was built with it, is five times faster.
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class LoggedRun:
    """A finished run: id, name, address in the UI, model and the file or address of its report.

    `row` is its row in `segmentation.tracking.runs.finished_runs`.
    """

    run_id: str
    name: str
    link: str
    model_uri: str
    report: str
    row: dict[str, Any] = field(repr=False)


def log_result(
    result: SegmentationResult,
    *,
    uri: str | None = None,
    experiment: str = "customer-segments",
    log_customers: bool = True,
    home: Path | None = None,
) -> LoggedRun:
    """Log a result as a run, the only call a notebook needs.

    Parameters
    ----------
    result : SegmentationResult
    uri : str, optional
        Tracking URI; by default MLFLOW_TRACKING_URI, else SQLite in the folder ``mlruns``.
    experiment : str
    log_customers : bool
        Also log the customer -> segment table.
    home : Path, optional
        Folder of the default store; by default ``mlruns`` in the current directory.

    Raises
    ------
    TrackingError
        The store cannot be opened or written.
    """
    store = open_store(resolve_uri(uri, home or Path.cwd() / "mlruns"), experiment)
    with tracked_run(store, run_name(result)) as run:
        return write_result(store, run, result, log_customers=log_customers)


@contextlib.contextmanager
def tracked_run(
    store: Store, name: str, *, tags: Mapping[str, str] | None = None, run_id: str | None = None
) -> Iterator[Run]:
    """Open a run that always ends: FINISHED, FAILED with the reason as a tag, or KILLED.

    Parameters
    ----------
    store : Store
    name : str
        Name of the run.
    tags : mapping, optional
    run_id : str, optional
        Use this run instead of creating one (``mlflow run`` creates it before we start).

    Yields
    ------
    Run
        The run as it was when it started.
    """
    begun = run_id
    try:
        # If interrupted between the change of a run and our record of it, it would stay RUNNING.
        with interrupts.held(), store_errors(store.uri):
            run = _begin(store, name, tags or {}, run_id)
            begun = str(run.info.run_id)
            heartbeat = Heartbeat(store, begun)
            heartbeat.start()
        try:
            with interrupts.kept():
                yield run
        finally:
            heartbeat.stop()
        with interrupts.held(), store_errors(store.uri):
            runs.finish(store, begun)
            begun = None
    except BaseException as error:
        if begun is not None:
            failed = isinstance(error, Exception)
            reason = f"{type(error).__name__}: {error}" if failed else "interrupted"
            runs.end(store, begun, "FAILED" if failed else "KILLED", reason)
        raise


def _begin(store: Store, name: str, tags: Mapping[str, str], run_id: str | None) -> Run:
    if run_id is not None:
        # Again, since the computation may have taken hours.
        check_adoptable(store.client.get_run(run_id))
        reopen(store, run_id, tags)
        store.client.update_run(run_id, name=name)
        return store.client.get_run(run_id)
    base = {
        "mlflow.user": process.user(),
        "mlflow.source.name": "segment fit",
        "mlflow.source.type": "LOCAL",
        **process.tags(),
    }
    return store.client.create_run(store.experiment_id, run_name=name, tags={**base, **tags})


def reopen(store: Store, run_id: str, tags: Mapping[str, str]) -> None:
    """Take over an existing run: mark it RUNNING and owned by this process."""
    store.client.update_run(run_id, status="RUNNING")
    every = {**process.tags(), **tags}
    store.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in every.items()])


def write_result(
    store: Store,
    run: Run,
    result: SegmentationResult,
    *,
    config: Mapping[str, Any] | None = None,
    reference: Mapping[str, float] | None = None,
    command: str = "segmentation.log_result(result)",
    data_figures: bool = True,
    log_customers: bool = True,
    drawn: DrawnFigures | None = None,
) -> LoggedRun:
    """Write a result, its model and its config to a run, and verify the model.

    Parameters
    ----------
    store : Store
    run : Run
        An open run of `store`.
    result : SegmentationResult
    config : mapping, optional
        The resolved config, stored so that ``segment fit run_id=…`` can run it again.
    reference : mapping of str to float, optional
        Metrics of the segments in the reference space, comparable between runs.
    command : str
        The command in the report that reproduces the run.
    data_figures, log_customers, drawn
        See `segmentation.tracking.run_items.iter_log_items`.
    """
    run_id = str(run.info.run_id)
    meta = {
        "run": run_name(result),
        "run id": run_id,
        "data": f"{result.customers.source} (SHA-256 {short_digest(result.customers.digest)}…)",
        "seed": str(result.seed),
        "command": command,
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    own: list[LogItem] = [Tag("code_version", code_version())]
    if config is not None:
        text = yaml.dump(dict(config), Dumper=DUMPER, sort_keys=False, allow_unicode=True)
        own.append(File(runs.CONFIG_FILE, text.encode()))
        own.append(Tag("config_hash", config_hash(config, result.customers.digest)))
    own.extend(Metric(f"reference/{key}", number) for key, number in (reference or {}).items())
    items = iter_log_items(
        result, meta=meta, data_figures=data_figures, log_customers=log_customers, drawn=drawn
    )
    with _filed(store, run, itertools.chain(items, own)) as filed, store_errors(store.uri):
        params = {item.name: item.value for item in filed.small if isinstance(item, Param)}
        model = flavor.log(portable_model(result), client=store.client, run=run, params=params)
        _log_filed(store, run, filed, model_id=str(model.model_id))
        _write_dataset(store, run_id, result)
        _verify_model(store, model, result)
    link = store.link(run_id)
    return LoggedRun(
        run_id=run_id,
        name=run_name(result),
        link=link,
        model_uri=str(model.model_uri),
        report=runs.artifact_file(store, str(run.info.artifact_uri), runs.REPORT_FILE) or link,
        row=runs.row_of(_as_logged(run, filed.small)),
    )


def _as_logged(run: Run, items: Iterable[Param | Metric | Tag]) -> Run:
    """Return the run with what was logged to it, without querying the store."""
    small = list(items)
    before = run.data.tags.items()
    return Run(
        run.info,
        RunData(
            metrics=[MlflowMetric(i.name, i.value, 0, 0) for i in small if isinstance(i, Metric)],
            params=[MlflowParam(i.name, i.value) for i in small if isinstance(i, Param)],
            tags=[
                *(RunTag(name, value) for name, value in before),
                *(RunTag(i.name, i.value) for i in small if isinstance(i, Tag)),
            ],
        ),
    )


def write_items(store: Store, run: Run, items: Iterable[LogItem]) -> None:
    """Log items in as few calls as MLflow allows: one batch, and one folder if it is remote.

    Parameters
    ----------
    store : Store
    run : Run
        The run as it was before; what it already contains is not written again.
    items : iterable of LogItem
    """
    with _filed(store, run, items) as filed:
        _log_filed(store, run, filed)


@dataclass(frozen=True)
class _Filed:
    """Items to be logged; the files and tables among them are already in a folder.

    Attributes
    ----------
    folder : Path
    is_home : bool
        Whether this is the folder of the run's artifacts.
    small : list
    tables : list of str
        Paths in the folder.
    """

    folder: Path
    is_home: bool
    small: list[Param | Metric | Tag]
    tables: list[str]


@contextlib.contextmanager
def _filed(store: Store, run: Run, items: Iterable[LogItem]) -> Iterator[_Filed]:
    """Write each item as it is made: a table of 1e7 customers takes half a gigabyte of memory."""
    recorded = relocation.path_of(str(run.info.artifact_uri))
    home = recorded
    if recorded is not None and store.place is not None:
        home = store.place.own(recorded)
    with contextlib.ExitStack() as scratch:
        folder = home or Path(scratch.enter_context(tempfile.TemporaryDirectory(prefix="segment-")))
        filed = _Filed(folder, home is not None, [], [])
        for item in items:
            if not isinstance(item, File | Table):
                filed.small.append(item)
                continue
            path = folder / item.path
            path.parent.mkdir(parents=True, exist_ok=True)
            content = item.content if isinstance(item, File) else _table_json(item)
            with path.open("wb") as file:
                file.writelines([content] if isinstance(content, bytes) else content)
            if isinstance(item, Table):
                filed.tables.append(item.path)
        yield filed


def _log_filed(store: Store, run: Run, filed: _Filed, *, model_id: str | None = None) -> None:
    """Log the items; metrics without a step also belong to the run's logged model."""
    now, run_id = int(time.time() * 1000), str(run.info.run_id)
    store.client.log_batch(
        run_id,
        metrics=[
            MlflowMetric(i.name, i.value, now, i.step, None if i.step else model_id)
            for i in filed.small
            if isinstance(i, Metric)
        ],
        params=[
            MlflowParam(i.name, i.value)
            for i in filed.small
            # A param is written only once; `mlflow run` has written those of its entry point.
            if isinstance(i, Param) and i.name not in run.data.params
        ],
        tags=[
            *(RunTag(i.name, i.value) for i in filed.small if isinstance(i, Tag)),
            RunTag(TABLES_TAG, tables_tag(run.data.tags.get(TABLES_TAG), filed.tables)),
        ],
    )
    if not filed.is_home:
        store.client.log_artifacts(run_id, str(filed.folder))


def _table_json(table: Table) -> bytes:
    """Return the file `MlflowClient.log_table` would write, without its calls for each table."""
    text = table.frame.to_json(orient="split", index=False, date_format="iso")
    return str(text).encode()


def _write_dataset(store: Store, run_id: str, result: SegmentationResult) -> None:
    # Not mlflow.data.from_pandas: its digest ignores changes beyond 10,000 rows.
    frame, rows = result.customers.frame, result.customers.population
    schema = {"mlflow_colspec": [{"type": str(t), "name": n} for n, t in frame.dtypes.items()]}
    dataset = Dataset(
        name=result.customers.source,
        digest=result.customers.digest[:36],
        source_type="local",
        source=json.dumps({"uri": result.customers.source}),
        schema=json.dumps(schema),
        profile=json.dumps({"num_rows": rows, "num_elements": rows * frame.shape[1]}),
    )
    # If several runs log a new data set at once, all but one violate its uniqueness and fail.
    for attempt in range(DATASET_ATTEMPTS):
        try:
            store.client.log_inputs(run_id, [DatasetInput(dataset)])
            return
        except (MlflowException, SQLAlchemyError):
            if attempt == DATASET_ATTEMPTS - 1:
                raise
            time.sleep(0.1 * (attempt + 1))


def _verify_model(store: Store, model: ModelInfo, result: SegmentationResult) -> None:
    """Load the logged model and predict the customers it was fitted on.

    Raises
    ------
    RuntimeError
        It assigns customers to other segments than the fit.
    """
    rows = result.customers.frame[list(result.features.columns)].head(VERIFIED_ROWS)
    # Artifacts that are files on this machine are read in place.
    folder = runs.local_path(store, str(model.artifact_path))
    where = str(folder) if folder is not None else str(model.model_uri)
    answer = flavor.load(where, tracking_uri=store.uri).model.predict(None, rows)  # type: ignore[arg-type]
    labels = result.labels[: len(rows)]
    distances = result.distances[: len(rows)]
    # A customer exactly between two centres may go to either; then the distances are equal.
    same = answer["segment"].to_numpy() == labels
    tie = np.isclose(answer["distance"].to_numpy(), distances, rtol=1e-9, atol=1e-9)
    if not np.all(same | tie):
        raise RuntimeError(
            f"the logged model {model.model_uri} assigns {np.count_nonzero(~(same | tie))} of "
            f"{len(rows)} customers to another segment than the fit"
        )
