"""One file an engine; this table names them."""

from __future__ import annotations

from types import ModuleType

from segmentation.clustering import in_memory, spark

ENGINES: dict[str, ModuleType] = {"sklearn": in_memory, "spark": spark}
