"""One file an engine; this table names them."""

from __future__ import annotations

from types import ModuleType

from segmentation.engines import sklearn, spark

ENGINES: dict[str, ModuleType] = {"sklearn": sklearn, "spark": spark}
