"""A logged model as a folder: read its segments, change their ids, test it, log it again.

A logged model cannot be changed, so promotion copies its files. Pipeline, code, references and
requirements stay identical byte for byte; only ids and names are rewritten.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow.artifacts
import mlflow.pyfunc
import numpy as np
import pandas as pd
import skops.io
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus, Run
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from sklearn.pipeline import Pipeline

from segmentation.errors import RegistryError
from segmentation.model import integrity
from segmentation.model.integrity import ARTIFACTS, COMPILED, FETCH_NOTE, MLMODEL
from segmentation.model.segment_model import (
    PIPELINE_FILE,
    SEGMENTS_FILE,
    SegmentModel,
    Segments,
)

FRESH_SECONDS = 180
# -I: no PYTHONPATH, no current directory, so that this project cannot be imported by accident.
FRESH_PROCESS = """
import json, sys
import mlflow.pyfunc
from mlflow.models import Model
folder = sys.argv[1]
example = Model.load(folder).load_input_example(folder)
answer = mlflow.pyfunc.load_model(folder).predict(example)
assert not any(name.split(".")[0] == "segmentation" for name in sys.modules), "needs this project"
print(json.dumps([int(segment) for segment in answer["segment"]]))
"""


@dataclass(frozen=True)
class ModelFolder:
    """The files of a logged model.

    Attributes
    ----------
    path : Path
    columns : tuple of str
        Columns the model needs.
    ids, names : tuples
        Segment id and name of each cluster index.
    uri : str
        Where the files come from.
    unrecorded : mapping of str to str
        Tags with the digests of the files as they were fetched, if the store has none of them.
    """

    path: Path
    columns: tuple[str, ...]
    ids: tuple[int, ...]
    names: tuple[str, ...]
    uri: str = "the model"
    unrecorded: Mapping[str, str] = field(default_factory=dict)

    def pipeline(self) -> Pipeline:
        """Load the fitted pipeline."""
        with integrity.reading(self.uri):
            return skops.io.load(self.path / ARTIFACTS / PIPELINE_FILE)

    def load(self) -> SegmentModel:
        """Load the model; its own code runs."""
        with integrity.reading(self.uri):
            # Unwrapped: MLflow's check of the columns takes ten times as long as the prediction.
            model: SegmentModel = mlflow.pyfunc.load_model(str(self.path)).unwrap_python_model()
        return model

    def answers(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return ``segment`` and ``distance`` of each customer.

        Raises
        ------
        RegistryError
            A column is missing, or the model does not accept a value.
        """
        try:
            # Its first argument, MLflow's context, is not used.
            return self.load().predict(None, frame)  # type: ignore[arg-type]
        except MlflowException as error:
            raise RegistryError(str(error.message)) from error

    def indices(self, segments: pd.Series) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the cluster index of each segment id."""
        return np.asarray(pd.Index(self.ids).get_indexer(pd.Index(segments)), dtype=np.int64)


def fetch(uri: str, into: Path, *, trust: bool = True) -> ModelFolder:
    """Copy the files of a logged model or model version, and check them before anything is loaded.

    Parameters
    ----------
    uri : str
        ``models:/m-…``, a version of a registered model or a folder.
    into : Path
        A folder that does not exist yet.
    trust : bool
        Accept a model without digests of its files, which was made before there were any. Files
        that differ from their digests are refused in any case.

    Raises
    ------
    RegistryError
        The files are missing or have changed, or it is not a model of this project.
    """
    into.mkdir(parents=True)
    local = Path(uri).is_dir()
    try:
        known = integrity.Record() if local else integrity.recorded(MlflowClient(), uri)
        if local:
            path = Path(shutil.copytree(uri, into / "model"))
        else:
            path = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(into)))
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"the files of {uri} cannot be read: {str(error).splitlines()[0]}"
        ) from error
    (path / FETCH_NOTE).unlink(missing_ok=True)
    # Python would run what is in there instead of the code that is checked below.
    _remove_compiled(path)
    if known.files is None and not (path / ARTIFACTS / SEGMENTS_FILE).is_file():
        raise RegistryError(
            f"{uri} is not a model logged by `segment fit`; choose another registered model "
            "with model=NAME"
        )
    if known.files is None and not trust:
        raise RegistryError(
            f"{uri} was made before models had digests of their files, so nobody can tell whether "
            "they were changed since. If you trust everybody who can write to the store, add "
            "trust=true; otherwise fit again and promote that run."
        )
    integrity.check(path, known, uri)
    folder = _read(path, uri)
    return folder if known.files is not None else replace(folder, unrecorded=integrity.tags(path))


def record(client: MlflowClient, folder: ModelFolder) -> None:
    """Give the logged model of a fetched folder the digests of its files, unless it has some.

    A version whose logged model was deleted stays without: there is nothing to hold the tags.
    """
    if not folder.unrecorded:
        return
    logged = integrity.logged_model(client, folder.uri)
    if logged is not None and integrity.FILES_TAG not in logged.tags:
        client.set_logged_model_tags(logged.model_id, dict(folder.unrecorded))


def relabel(folder: ModelFolder, ids: Sequence[int], names: Sequence[str]) -> ModelFolder:
    """Replace the segment ids and names in the folder; nothing else changes."""
    file = folder.path / ARTIFACTS / SEGMENTS_FILE
    known = Segments.read(file)
    known._replace(ids=tuple(int(id_) for id_ in ids), names=tuple(names)).write(file)
    return replace(_read(folder.path, folder.uri), unrecorded=folder.unrecorded)


def fresh_process_problem(folder: ModelFolder) -> str | None:
    """Load the folder in a new Python process with only MLflow; return the problem, or None."""
    model = Model.load(str(folder.path))
    example: Any = model.load_input_example(str(folder.path))
    expected = folder.answers(example)["segment"].tolist()
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", FRESH_PROCESS, str(folder.path)],
            capture_output=True,
            text=True,
            timeout=FRESH_SECONDS,
            env=environment,
            cwd=folder.path,
        )
    except subprocess.TimeoutExpired:
        return f"a fresh process did not load it within {FRESH_SECONDS} seconds"
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return f"a fresh process could not use it: {lines[-1] if lines else done.returncode}"
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return None if found == expected else f"a fresh process returned {found} instead of {expected}"


def log(
    client: MlflowClient, folder: ModelFolder, run: Run, *, name: str, tags: dict[str, str]
) -> str:
    """Log the folder as a new model of the run and return its id.

    Parameters
    ----------
    client : MlflowClient
    folder : ModelFolder
    run : Run
        The run that fitted the pipeline.
    name : str
        Name of the logged model.
    tags : dict
        Tags of the logged model.
    """
    logged = client.create_logged_model(
        run.info.experiment_id,
        name=name,
        source_run_id=run.info.run_id,
        params=run.data.params,
        tags=tags,
    )
    # Left by whoever loaded the model from this folder.
    _remove_compiled(folder.path)
    model = Model.load(str(folder.path))
    model.model_id, model.run_id = logged.model_id, run.info.run_id
    model.model_uuid, model.artifact_path = logged.model_id, logged.artifact_location
    model.save(str(folder.path / MLMODEL))
    client.set_logged_model_tags(logged.model_id, integrity.tags(folder.path))
    client.log_model_artifacts(logged.model_id, str(folder.path))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)


def _remove_compiled(path: Path) -> None:
    for compiled in [*path.rglob(COMPILED)]:
        shutil.rmtree(compiled)


def _read(path: Path, uri: str) -> ModelFolder:
    with integrity.reading(uri):
        known = Segments.read(path / ARTIFACTS / SEGMENTS_FILE)
        columns = tuple(column["name"] for column in known.columns)
    return ModelFolder(path=path, columns=columns, ids=known.ids, names=known.names, uri=uri)
