"""The rooms of the house: who may import what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from conftest import REPO

SOURCE = REPO / "src" / "segmentation"
MODULES = sorted(SOURCE.rglob("*.py"))
#: Third-party packages that only these modules may import.
ONLY_IN = {
    "hydra": {"cli"},
    "mlflow": {"store", "runs", "tracking", "study", "registry", "flavor", "model"}
    | {"versions", "model_folder", "assessment"}
    # Its executors load the registered model.
    | {"spark"},
    "matplotlib": {"figures", "report"},
    "seaborn": {"figures", "report"},
    "pyspark": {"engines", "spark"},
    "py4j": {"spark"},
}
#: Each line may import from the lines above it, and within itself only what has no cycle.
LAYERS = [
    {"errors", "credentials", "threads", "interrupts", "forks", "parts"},
    {"config"},
    {"values"},
    {"files", "others"},
    {"streams"},
    {"typed"},
    {"data"},
    {"described"},
    {"purchases"},
    {"transactions", "sql"},
    {"drift"},
    {"demo"},
    {"features", "encoding"},
    {"engines"},
    {"sampling", "scatter"},
    {"silhouettes"},
    {"metrics"},
    {"batched_kmeans"},
    {"nulls"},
    {"criteria"},
    {"gate", "stability"},
    {"evidence"},
    {"choice"},
    {"profiles"},
    {"typical", "naming", "rules", "importance"},
    {"segments"},
    {"result"},
    {"spark"},
    {"figures"},
    {"page"},
    {"report"},
    {"logged"},
    {"model"},
    {"flavor"},
    {"store", "process"},
    {"runs"},
    {"tracking"},
    {"compare"},
    {"versions", "model_folder"},
    {"registry"},
    {"lineage", "gates", "challenge"},
    {"fit"},
    {"assessment"},
    {"promotion"},
    {"score"},
    {"scorefile"},
    {"monitor"},
    {"monitor_report"},
    {"agreement"},
    {"sweep_report"},
    {"study"},
    {"ui"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Modules imported at runtime: what stands under TYPE_CHECKING is not."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    for name in imported(path):
        package, *rest = name.split(".")
        if package in ONLY_IN:
            assert here in ONLY_IN[package], f"{path.name} imports {package}"
        if package == "segmentation" and rest and rest[0] != here and rest[0] in LAYER:
            assert LAYER[rest[0]] < LAYER[here], f"{here} imports {rest[0]}"


def test_the_portable_model_imports_nothing_of_ours() -> None:
    assert not any(name.startswith("segmentation") for name in imported(SOURCE / "model.py"))


def test_every_module_has_a_layer() -> None:
    assert {room(path) for path in MODULES} - {"__init__"} == set(LAYER)
