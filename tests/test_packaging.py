"""The versions in pyproject.toml and in the two constraints files agree."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from conftest import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def requirements(*extras: str) -> Iterator[Requirement]:
    for text in [*PROJECT["dependencies"], *(one for extra in extras for one in EXTRAS[extra])]:
        requirement = Requirement(text)
        if requirement.name != PROJECT["name"]:
            yield requirement


def pinned(name: str) -> dict[str, Version]:
    lines = (REPO / name).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(package): Version(version) for package, version in pairs}


def test_the_oldest_versions_tested_are_the_lower_bounds() -> None:
    oldest = pinned("constraints-oldest.txt")
    for requirement in requirements("test"):
        lower = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
        assert [oldest[canonicalize_name(requirement.name)]] == lower, requirement


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-oldest.txt"])
def test_pinned_versions_are_allowed(name: str) -> None:
    versions = pinned(name)
    extras = ("test",) if "oldest" in name else tuple(EXTRAS)
    for requirement in requirements(*extras):
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_every_dependency_has_both_bounds() -> None:
    for requirement in requirements("spark"):
        assert {each.operator for each in requirement.specifier} == {">=", "<"}, requirement
