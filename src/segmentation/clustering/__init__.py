"""K-Means for a whole range of k: one module per engine, and the table `ENGINES`."""

from __future__ import annotations

from segmentation.clustering.engine_table import ENGINES, EngineLine

__all__ = ["ENGINES", "EngineLine"]
