"""Rules that the import contracts in pyproject.toml cannot express."""

from __future__ import annotations

from conftest import REPO

SOURCE = REPO / "src" / "segmentation"


def test_no_file_name_twice_and_no_module_over_400_lines() -> None:
    modules = [path for path in SOURCE.rglob("*.py") if path.parent.name != "commands"]
    shared = {"__init__.py", "base.py", "_compat.py", "report.py"}
    names = [path.name for path in modules if path.name not in shared]
    assert sorted(names) == sorted(set(names))
    long = [path.name for path in modules if len(path.read_text("utf-8").splitlines()) > 400]
    assert not long
