"""Uses of MLflow beyond its documented interface that the portable model needs.

MLflow writes one flavour at a time. Writing two into one folder, without pickle and without paths
of this machine, is not documented, so this module builds the ``MLmodel`` file itself. Tests with
the oldest and the newest allowed version check that such a model opens as both flavours.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow.pyfunc
from mlflow.models import Model
from mlflow.utils import environment

# MLflow's check of the installed packages.
_CHECK = "warn_dependency_requirement_mismatches"
_VALIDATING = "Validating input example against model signature"


class UnfiledModel(Model):
    """A model whose ``MLmodel`` file is not written until it has both flavours."""

    def save(self, path: str) -> None:
        """Write the ``MLmodel`` file once both flavours are there."""
        if "sklearn" in self.flavors:
            super().save(path)


def forget_origins(model: Model, code: str) -> None:
    """Remove the paths where MLflow found the files: they have no meaning on other machines.

    Parameters
    ----------
    model : Model
        Has the pyfunc flavour.
    code : str
        Name of the code file.
    """
    pyfunc = model.flavors[mlflow.pyfunc.FLAVOR_NAME]
    pyfunc["model_code_path"] = code
    for artifact in pyfunc["artifacts"].values():
        artifact["uri"] = artifact["path"]


def add_sklearn_flavor(model: Model, version: str) -> None:
    """Add the sklearn flavour, with the pyfunc flavour's pipeline (a skops file) as its model.

    `mlflow.sklearn.save_model` would write the pipeline a second time, into a separate folder.
    """
    pyfunc = model.flavors[mlflow.pyfunc.FLAVOR_NAME]
    model.add_flavor(
        "sklearn",
        pickled_model=pyfunc["artifacts"]["pipeline"]["path"],
        sklearn_version=version,
        serialization_format="skops",
        skops_trusted_types=None,
        code=None,
    )


@contextmanager
def quiet_saving() -> Iterator[None]:
    """Silence MLflow's message about input examples and skip its check of requirements.

    The check reads the metadata of every installed package, which takes half a second per process
    and 40 ms per model (measured with MLflow 3.17). It is not needed, as the model requires the
    installed versions. MLflow has no setting for the message or the check.
    """
    logger = logging.getLogger("mlflow.pyfunc")
    check = getattr(environment, _CHECK)

    def wanted(record: logging.LogRecord) -> bool:
        return record.msg != _VALIDATING

    logger.addFilter(wanted)
    setattr(environment, _CHECK, lambda requirements: None)
    try:
        with warnings.catch_warnings():
            # Pandas4Warning, caused by MLflow's own comparison of column names with a range.
            warnings.filterwarnings("ignore", message="Operation with range is deprecated")
            yield
    finally:
        logger.removeFilter(wanted)
        setattr(environment, _CHECK, check)
