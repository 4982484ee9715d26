"""What the portable model rests on in MLflow is there in this version."""

from __future__ import annotations

import inspect

import mlflow
import mlflow.pyfunc.model
import mlflow.sklearn
from mlflow.models import Model
from mlflow.utils import environment

from segmentation.model import _compat

CHANGED = f"MLflow {mlflow.__version__} changed it: see model/_compat.py"


def test_mlflow_says_what_is_kept_quiet() -> None:
    assert callable(getattr(environment, _compat._CHECK, None)), CHANGED
    source = inspect.getsource(mlflow.pyfunc) + inspect.getsource(mlflow.pyfunc.model)
    source += inspect.getsource(inspect.getmodule(Model))  # type: ignore[arg-type]
    assert _compat._VALIDATING in source, CHANGED
    assert _compat._CHECK in source + inspect.getsource(environment), CHANGED


def test_the_sklearn_flavour_has_the_keys_that_mlflow_reads() -> None:
    model = Model()
    model.add_flavor(mlflow.pyfunc.FLAVOR_NAME, artifacts={"pipeline": {"path": "pipeline.skops"}})
    _compat.add_sklearn_flavor(model, "1.0")
    source = inspect.getsource(mlflow.sklearn)
    for key in model.flavors["sklearn"]:
        assert key in source, CHANGED
