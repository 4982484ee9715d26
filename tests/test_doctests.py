"""The examples in docstrings return what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from conftest import REPO

SOURCE = REPO / "src"
#: Importing only modules that have examples keeps this quick.
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCE.rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


def test_there_are_examples() -> None:
    assert "segmentation.pipeline" in MODULES


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "spark" in name.split("."):
        pytest.skip("its examples need a Spark session, which takes seconds to start")
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(
        import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert tried
    assert not failed
    assert not list(tmp_path.iterdir())
