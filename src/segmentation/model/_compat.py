"""What the portable model rests on in MLflow beyond its documented interface.

MLflow writes one flavour at a time. To write two into one folder, with no pickle and without paths
of this machine, is nowhere documented: this module knows how an ``MLmodel`` file is made. That a
model so written opens as both flavours is tested with the oldest and the newest version allowed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow.pyfunc
from mlflow.models import Model
from mlflow.utils import environment

# MLflow's look at the installed packages.
_CHECK = "warn_dependency_requirement_mismatches"
_VALIDATING = "Validating input example against model signature"


class UnfiledModel(Model):
    """A model that MLflow does not write down while it has one flavour of two."""

    def save(self, path: str) -> None:
        """Write the ``MLmodel`` file, once both flavours are known."""
        if "sklearn" in self.flavors:
            super().save(path)


def forget_origins(model: Model, code: str) -> None:
    """Take out where MLflow found the files: folders of this machine mean nothing elsewhere.

    Parameters
    ----------
    model : Model
        With the pyfunc flavour.
    code : str
        Name of the code file.
    """
    pyfunc = model.flavors[mlflow.pyfunc.FLAVOR_NAME]
    pyfunc["model_code_path"] = code
    for artifact in pyfunc["artifacts"].values():
        artifact["uri"] = artifact["path"]


def add_sklearn_flavor(model: Model, version: str) -> None:
    """Name the pyfunc flavour's pipeline, a skops file, as the sklearn flavour's too.

    `mlflow.sklearn.save_model` would write it a second time, into a folder of its own.
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
    """Keep off the terminal what MLflow says of every model with an example, and only that.

    Nor does MLflow look whether what the model requires is installed: it requires the installed
    versions, and looking reads the metadata of every installed package, half a second in each
    process and 40 ms a model (measured with MLflow 3.17). There is no setting for either.
    """
    logger = logging.getLogger("mlflow.pyfunc")
    check = getattr(environment, _CHECK)

    def wanted(record: logging.LogRecord) -> bool:
        return record.msg != _VALIDATING

    logger.addFilter(wanted)
    setattr(environment, _CHECK, lambda requirements: None)
    try:
        with warnings.catch_warnings():
            # Pandas4Warning, of MLflow's own comparison of column names with a range.
            warnings.filterwarnings("ignore", message="Operation with range is deprecated")
            yield
    finally:
        logger.removeFilter(wanted)
        setattr(environment, _CHECK, check)
