"""Two runs share a configuration's hash only where code, data and settings are the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from segmentation.tracking import identity

SETTINGS = {"features": {"name": "a"}, "scaling": {"name": "none"}, "k": {"min": 1, "max": 3}}


def test_a_change_in_any_module_changes_the_code_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = sorted(path.relative_to(identity.PACKAGE) for path in identity.PACKAGE.rglob("*.py"))
    rooms = {path.parts[0] for path in modules if len(path.parts) > 1}
    assert {"cli", "clustering", "data", "registry", "tracking", "visualization"} <= rooms
    copy = tmp_path / "segmentation"
    shutil.copytree(identity.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    original = identity.code_version()
    monkeypatch.setattr(identity, "PACKAGE", copy)
    assert identity.code_version.__wrapped__() == original
    for module in modules:
        text = (copy / module).read_text(encoding="utf-8")
        (copy / module).write_text(f"{text}\n# changed", encoding="utf-8")
        assert identity.code_version.__wrapped__() != original, module
        (copy / module).write_text(text, encoding="utf-8")


def test_the_hash_of_a_configuration_starts_with_a_letter() -> None:
    hashes = {identity.config_hash({**SETTINGS, "seed": seed}, "digest") for seed in range(20)}
    assert len(hashes) == 20
    assert all(text.startswith("c") for text in hashes)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"engine": {"effort": "fast"}}, {"naming": {}}])
def test_every_setting_that_makes_the_result_is_in_the_hash(changed: dict[str, object]) -> None:
    plain = identity.config_hash({**SETTINGS, "seed": 0}, "digest")
    assert identity.config_hash({**SETTINGS, "seed": 0, **changed}, "digest") != plain


def test_where_spark_runs_and_where_the_data_lie_is_not_in_the_hash() -> None:
    here = {**SETTINGS, "engine": {"name": "spark", "master": "a"}, "data": {"path": "a.csv"}}
    there = {**SETTINGS, "engine": {"name": "spark", "master": "b"}, "data": {"path": "b.csv"}}
    assert identity.config_hash(here, "digest") == identity.config_hash(there, "digest")
    assert identity.config_hash(here, "digest") != identity.config_hash(here, "other")
