"""The public names of `segmentation`, and the old import paths that still work."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import segmentation


def test_the_exported_members() -> None:
    assert segmentation.__all__ == sorted(segmentation.__all__, key=lambda n: (n[0].islower(), n))
    assert dir(segmentation) == sorted(segmentation.__all__)
    for name in segmentation.__all__:
        member = getattr(segmentation, name)
        assert member.__name__ == name
        assert member.__doc__


def test_an_unknown_member_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'segments'"):
        _ = segmentation.segments  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "name", "home"),
    [
        ("segmentation.engines", "ENGINES", "segmentation.clustering"),
        ("segmentation.result", "segment", "segmentation.pipeline"),
        ("segmentation.tracking", "log_result", "segmentation.tracking.run_logger"),
        ("segmentation.tracking", "LoggedRun", "segmentation.tracking.run_logger"),
    ],
)
def test_an_old_path_works_with_a_warning(module: str, name: str, home: str) -> None:
    sys.modules.pop("segmentation.engines", None)
    with pytest.warns(DeprecationWarning, match="`from segmentation"):
        old = getattr(import_module(module), name)
    assert old is getattr(import_module(home), name)


def test_importing_the_package_loads_neither_mlflow_nor_matplotlib() -> None:
    heavy = "('mlflow', 'matplotlib', 'sklearn', 'pandas', 'numpy', 'hydra')"
    code = f"import segmentation, sys; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
