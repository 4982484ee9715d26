"""Write the portable model: one logged model that opens as ``pyfunc`` and as ``sklearn``.

MLflow's documented way to add a custom flavour is a module with a ``save_model``; this is that
module. The pyfunc flavour is a copy of the code of `segmentation.model.segment_model` with the
pipeline in skops format, so a logged model holds no pickle and does not need this package.
Signature, input example and requirements are set, not inferred: inference takes seconds per run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow.pyfunc
import pandas as pd
import skops.io
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import AnyType
from sklearn.pipeline import Pipeline

from segmentation.errors import RegistryError
from segmentation.model import integrity
from segmentation.model._compat import (
    UnfiledModel,
    add_sklearn_flavor,
    forget_origins,
    quiet_saving,
)
from segmentation.model.released_code import CODE
from segmentation.model.segment_model import (
    PIPELINE_FILE,
    SEGMENTS_FILE,
    InputColumn,
    SegmentModel,
    Segments,
)
from segmentation.runtime.redaction import masked_url

REQUIREMENTS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")
EXAMPLE_ROWS = 5


@dataclass(frozen=True)
class PortableModel:
    """A fitted pipeline with everything other programs need to use it.

    Attributes
    ----------
    pipeline : Pipeline
        Fitted; stock scikit-learn steps only, the last one a ``KMeans`` of k clusters.
    columns : sequence of str
        Input columns, in the order the pipeline was fitted on.
    categories : mapping of str to sequence
        The categories seen in training (all text or all numbers) of each categorical column; the
        other columns are numeric.
    segment_ids : sequence of int
        Segment id of each cluster index.
    segment_names : sequence of str
        Name of each cluster index.
    radius : sequence of float
        99th percentile of the training customers' distance to the centre, by cluster index.
    example : DataFrame
        Its first rows are stored with the model as an input example; invented customers will do.
    log1p : sequence of str
        Numeric columns of which the pipeline takes the logarithm; they need values above -1.
    reference : mapping, optional
        Description of the training customers for monitoring, see
        `segmentation.evaluation.drift.reference`.
    """

    pipeline: Pipeline
    columns: Sequence[str]
    categories: Mapping[str, Sequence[str | float]]
    segment_ids: Sequence[int]
    segment_names: Sequence[str]
    radius: Sequence[float]
    example: pd.DataFrame
    log1p: Sequence[str] = ()
    reference: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        k = self.pipeline[-1].n_clusters
        for what in ("segment_ids", "segment_names", "radius"):
            if len(getattr(self, what)) != k:
                raise ValueError(f"{what} has {len(getattr(self, what))} values for {k} clusters")
        if len(set(self.segment_ids)) != k:
            raise ValueError(f"segment_ids are not unique: {list(self.segment_ids)}")
        strangers = {*self.categories, *self.log1p} - set(self.columns)
        if strangers:
            raise ValueError(f"categories or log1p name unknown columns: {sorted(strangers)}")


@dataclass(frozen=True)
class LoadedModel:
    """A model opened from the store.

    Attributes
    ----------
    model : SegmentModel
    name : str
        Name of the registered model, else the requested URI.
    version : str or None
        Version of the registered model.
    run_id : str or None
        The run that logged the model.
    notes : tuple of str
        What users should know about its files.
    """

    model: SegmentModel
    name: str
    version: str | None
    run_id: str | None
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name and version, such as ``customer-segments version 3``."""
        return self.name if self.version is None else f"{self.name} version {self.version}"


def log(
    portable: PortableModel,
    *,
    client: MlflowClient,
    run: Run,
    name: str = "model",
    params: Mapping[str, str] | None = None,
) -> ModelInfo:
    """Log the model to a run of the client's store.

    MLflow's `Model.log` is not used: it puts the model of a run that is not active into the default
    experiment, and copies each metric of the run to the model in a separate call. Metrics logged
    with the model's id belong to the model too.

    Parameters
    ----------
    portable : PortableModel
    client : MlflowClient
    run : Run
        The run the model belongs to; it need not be the active one.
    name : str
        Name of the logged model.
    params : mapping of str to str, optional
        Params of the run that are not logged yet.

    Returns
    -------
    ModelInfo
        ``model_uri`` (``models:/m-…``) opens it with ``mlflow.pyfunc.load_model`` and with
        ``mlflow.sklearn.load_model``.
    """
    run_id = str(run.info.run_id)
    logged = client.create_logged_model(
        run.info.experiment_id,
        name=name,
        source_run_id=run_id,
        params={**(params or {}), **run.data.params},
    )
    model = UnfiledModel(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
        run_id=run_id,
    )
    status = LoggedModelStatus.FAILED
    try:
        with TemporaryDirectory(prefix="segment-") as folder:
            save_model(folder, model, portable)
            client.set_logged_model_tags(logged.model_id, integrity.tags(Path(folder)))
            client.log_model_artifacts(logged.model_id, folder)
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        status = LoggedModelStatus.READY
    finally:
        client.finalize_logged_model(logged.model_id, status)
    info: ModelInfo = model.get_model_info(logged)
    return info


def load(uri: str, *, tracking_uri: str) -> LoadedModel:
    """Open a model of this project for scoring.

    The model's files are read by the `SegmentModel` of this version, not by the copy of the code
    that is stored with them. A model whose files have changed, or whose code is not ours, is
    refused before anything of it is read.

    Parameters
    ----------
    uri : str
        ``models:/name@alias``, ``models:/name/version``, ``models:/name/latest``,
        ``models:/m-…``, ``runs:/id/model`` or a folder.
    tracking_uri : str
        The store to look in; it becomes the tracking URI of this process.

    Raises
    ------
    RegistryError
        The store has no such model, it is not a model of this project, or its files have changed.
    """
    mlflow.set_tracking_uri(tracking_uri)
    client = mlflow.MlflowClient(tracking_uri)
    asked, name, number = uri, uri, None
    try:
        if (named := integrity.named_version(client, uri)) is not None:
            name, number = named
            uri = f"models:/{name}/{number}"
        with TemporaryDirectory(prefix="segment-") as scratch:
            local = Path(uri).is_dir()
            folder = Path(uri if local else download_artifacts(artifact_uri=uri, dst_path=scratch))
            known = integrity.Record()
            if not local:
                known = integrity.recorded(client, uri)
            integrity.check(folder, known, f"model={asked}")
            with integrity.reading(f"model={asked}"):
                run_id = Model.load(str(folder)).run_id
                model = _read(folder)
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"model={uri}: there is no such model in {masked_url(tracking_uri)} "
            f"({str(error).splitlines()[0].strip()}). Make a champion with `segment promote`, or "
            "choose another one, such as model=models:/customer-segments/1"
        ) from error
    notes = integrity.notes(known, f"model={asked}")
    return LoadedModel(model, name, number, run_id, notes)


def _read(folder: Path) -> SegmentModel:
    files = folder / integrity.ARTIFACTS
    return SegmentModel().read(files / PIPELINE_FILE, files / SEGMENTS_FILE)


def save(portable: PortableModel, path: str | Path) -> None:
    """Write the model to a new folder, without a store.

    Parameters
    ----------
    portable : PortableModel
    path : path
        Must not exist yet, or must be empty.
    """
    save_model(str(path), UnfiledModel(), portable)


def save_model(path: str, mlflow_model: Model, portable: PortableModel) -> None:
    """Write both flavours into `path`.

    Parameters
    ----------
    path : str
    mlflow_model : Model
        Receives the flavours. Its ``MLmodel`` file is written.
    portable : PortableModel
    """
    example = portable.example[list(portable.columns)].head(EXAMPLE_ROWS).reset_index(drop=True)
    with TemporaryDirectory() as folder, quiet_saving():
        pipeline, segments = Path(folder, PIPELINE_FILE), Path(folder, SEGMENTS_FILE)
        skops.io.dump(portable.pipeline, pipeline)
        _segments(portable).write(segments)
        mlflow.pyfunc.save_model(
            path,
            python_model=str(CODE),
            artifacts={"pipeline": str(pipeline), "segments": str(segments)},
            mlflow_model=mlflow_model,
            signature=_signature(portable.columns),
            input_example=example,
            pip_requirements=_requirements(),
            # A folder without a uv project; otherwise a uv.lock in the current directory is copied.
            uv_project_path=folder,
        )
    forget_origins(mlflow_model, CODE.name)
    add_sklearn_flavor(mlflow_model, _version("scikit-learn"))
    mlflow_model.save(str(Path(path, integrity.MLMODEL)))


@cache
def _version(package: str) -> str:
    # Each call parses all of the package's metadata.
    return version(package)


def _requirements() -> list[str]:
    return [f"{package}=={_version(package)}" for package in REQUIREMENTS]


def _segments(portable: PortableModel) -> Segments:
    columns: list[InputColumn] = [{"name": column} for column in portable.columns]
    for column in columns:
        if column["name"] in portable.categories:
            column["categories"] = list(portable.categories[column["name"]])
        elif column["name"] in portable.log1p:
            column["above"] = -1
    return Segments(
        columns=columns,
        ids=tuple(int(id_) for id_ in portable.segment_ids),
        names=tuple(portable.segment_names),
        radius=tuple(float(radius) for radius in portable.radius),
        reference=None if portable.reference is None else dict(portable.reference),
    )


def _signature(columns: Sequence[str]) -> ModelSignature:
    """Accept inputs of any type: ``double`` would refuse integer columns. The model checks them."""
    anything = AnyType()  # type: ignore[no-untyped-call]
    return ModelSignature(
        inputs=Schema([ColSpec(anything, column) for column in columns]),
        outputs=Schema(
            [
                ColSpec(DataType.long, "segment"),
                ColSpec(DataType.string, "segment_name"),
                ColSpec(DataType.double, "distance"),
            ]
        ),
        params=ParamSchema([ParamSpec("details", DataType.boolean, False)]),
    )
