"""Small fitted pipelines for the tests of the portable model and of the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from conftest import copy_store
from segmentation.model.flavor import PortableModel

NUMERIC = ("age", "income")


def customers(n: int = 120, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    centers = np.array([[25, 20], [45, 60], [65, 30]])[rng.integers(0, 3, n)]
    return pd.DataFrame(
        {
            "age": np.round(centers[:, 0] + rng.normal(0, 4, n)).astype(np.int64),
            "income": np.round(centers[:, 1] + rng.normal(0, 5, n)).astype(np.int64),
            "gender": rng.choice(["Female", "Male"], n),
        }
    )


def portable(
    frame: pd.DataFrame,
    *,
    k: int = 3,
    numeric: Sequence[str] = NUMERIC,
    log1p: Sequence[str] = (),
    categories: Mapping[str, Sequence[str | float]] | None = None,
    segment_ids: Sequence[int] | None = None,
) -> PortableModel:
    """Return a model fitted on `frame`, with segments named s0, s1, ... by id."""
    categories = categories or {}
    plain = [name for name in numeric if name not in log1p]
    logarithm = FunctionTransformer(np.log1p, feature_names_out="one-to-one", inverse_func=np.expm1)
    steps = [("numeric", StandardScaler(), plain)]
    if log1p:
        steps.append(("log1p", make_pipeline(logarithm, StandardScaler()), list(log1p)))
    if categories:
        steps.append(("onehot", OneHotEncoder(sparse_output=False), list(categories)))
    columns = [*numeric, *categories]
    pipeline = Pipeline(
        [
            ("features", ColumnTransformer(steps, verbose_feature_names_out=False)),
            ("kmeans", KMeans(k, n_init=5, random_state=0)),
        ]
    ).fit(frame[columns])
    ids = list(range(k)) if segment_ids is None else list(segment_ids)
    return PortableModel(
        pipeline=pipeline,
        columns=columns,
        categories=categories,
        segment_ids=ids,
        segment_names=[f"s{id_}" for id_ in ids],
        radius=[2.5] * k,
        example=frame,
        log1p=log1p,
    )


def new_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Create a SQLite store, make it MLflow's, and return its URI and an experiment id."""
    empty = tmp_path_factory.getbasetemp() / "empty.db"
    if not empty.exists():  # creating the tables takes seconds, copying does not
        mlflow.MlflowClient(f"sqlite:///{empty}").search_experiments()
    folder = tmp_path_factory.mktemp("store")
    copy_store(empty, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    experiment = mlflow.MlflowClient(uri).create_experiment(
        "customers", artifact_location=f"{folder}/artifacts"
    )
    return uri, experiment
