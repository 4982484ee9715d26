"""Figures of a segmentation: one function per figure, listed in the table `FIGURES`.

Nothing here uses pyplot or changes the caller's rcParams.
"""

from __future__ import annotations

from segmentation.visualization.figures import FIGURES, Figure, data_figures
from segmentation.visualization.style import segment_color, styled, to_png

__all__ = ["FIGURES", "Figure", "data_figures", "segment_color", "styled", "to_png"]
