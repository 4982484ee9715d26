"""One file an engine; this table names them."""

from __future__ import annotations

from types import ModuleType

from segmentation.engines import sklearn

ENGINES: dict[str, ModuleType] = {"sklearn": sklearn}
