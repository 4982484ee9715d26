"""The identity of a run: its configuration, data and code."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import segmentation

#: Folder whose source files are the code of a run.
PACKAGE = Path(segmentation.__file__).parent
DISTRIBUTION = "customer-segments"


def config_hash(config: Mapping[str, Any], digest: str) -> str:
    """Compute the identity of a configuration from its settings, the data's digest and the code.

    Paths do not count. It starts with a letter, since Hydra reads ``12e45678`` as a number.
    """
    keys = ("features", "scaling", "k", "choice", "engine", "seed", "naming", "compare")
    settings = {key: config[key] for key in keys if key in config}
    # Where Spark runs does not affect the result.
    settings["engine"] = {k: v for k, v in (config.get("engine") or {}).items() if k != "master"}
    # The data source determines what `features=auto` means.
    settings["default_features"] = (config.get("data") or {}).get("default_features")
    content = json.dumps([settings, digest, code_version()], sort_keys=True, default=str)
    return "c" + hashlib.sha256(content.encode()).hexdigest()[:15]


@functools.cache
def code_version() -> str:
    """Return the version of this package with a digest of its source, equal for equal code."""
    sources = sorted(PACKAGE.rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    return f"{_package_version(DISTRIBUTION)}+{digest.hexdigest()[:10]}"


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers depend on."""
    names = (DISTRIBUTION, "scikit-learn", "numpy", "pandas", "scipy", "mlflow")
    return {name: _package_version(name) for name in names}


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
