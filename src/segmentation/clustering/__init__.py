"""K-Means for a whole range of k: one file an engine, and the table `ENGINES` that names them."""

from __future__ import annotations

from segmentation.clustering.engine_table import ENGINES, EngineLine

__all__ = ["ENGINES", "EngineLine"]
