"""Figures of a segmentation: one function a figure, the table `FIGURES` names them.

Nothing here touches pyplot or the caller's rcParams.
"""

from __future__ import annotations

from segmentation.visualization.figures import FIGURES, Figure, data_figures
from segmentation.visualization.style import segment_color, styled, to_png

__all__ = ["FIGURES", "Figure", "data_figures", "segment_color", "styled", "to_png"]
