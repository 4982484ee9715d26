"""matplotlib's Agg with texts drawn once.

A run draws some 300 short texts, mostly those of the run before: names, tick labels, notes. Laying
them out and drawing them takes longer than the rest of a picture, so the masks are kept.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import FontProperties
from numpy.typing import NDArray

from segmentation.visualization._compat import OpenRenderer, drawn_text

#: Masks kept, some 2 kB each.
KEPT_TEXTS = 8192
LONGEST = 300
#: Renderers kept: a sweep draws a dozen figures, most of the same sizes in every run.
KEPT_RENDERERS = 24


class _Renderer(OpenRenderer):
    """Agg that remembers the sizes and masks of texts."""

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: Any
    ) -> tuple[float, float, float]:
        if ismath:
            width, height, descent = super().get_text_width_height_descent(s, prop, ismath)  # type: ignore[no-untyped-call]
            return float(width), float(height), float(descent)
        return _text(s, prop.copy(), 0.0, self.dpi).size

    def draw_text(
        self,
        gc: Any,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: Any = False,
        mtext: Any = None,
    ) -> None:
        # A text of a page's width is no label, and its mask would be large.
        if ismath or not gc.get_antialiased() or len(s) > LONGEST:
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)  # type: ignore[no-untyped-call]
            return
        # Texts start on whole pixels, so that a kept mask serves wherever the text stands.
        _, mask, left, bottom = _text(s, prop.copy(), float(angle), self.dpi)
        if mask.size:
            self.draw_mask(mask, round(x) + left, round(y) + bottom, gc)


class _Text(NamedTuple):
    """A text's size in pixels as it would be level, and its picture.

    Attributes
    ----------
    size : tuple of float
        Width, height and descent.
    mask : ndarray of shape (rows, columns)
        Coverage of its pixels, 0..255.
    left, bottom : int
        Where the mask's lower left corner stands, rightwards and downwards of the text's start.
    """

    size: tuple[float, float, float]
    mask: NDArray[np.uint8]
    left: int
    bottom: int


@lru_cache(KEPT_TEXTS)
def _text(s: str, prop: FontProperties, angle: float, dpi: float) -> _Text:
    """Lay a text out and draw it once, turned by some degrees."""
    font = drawn_text(s, prop, angle, dpi)
    (width, height), descent = np.array(font.get_width_height()) / 64, font.get_descent() / 64
    mask = font.get_image().copy()
    # FreeType cuts the letters' places to whole pixels, counted from the left and from the top.
    left = math.ceil(font.get_bitmap_offset()[0] / 64)
    bottom = len(mask) - math.floor(height - descent) - 1
    return _Text((float(width), float(height), descent), mask, left, bottom)


class Canvas(FigureCanvasAgg):
    """Agg canvas with the renderer above."""

    def get_renderer(self) -> _Renderer:
        """One for all figures of this size."""
        width, height = self.get_width_height(physical=True)
        renderer = _renderer(width, height, float(self.figure.dpi))
        self.renderer = renderer
        return renderer


# A sweep draws the same sizes in every run: 38 of 480 ms of CPU a run.
@lru_cache(KEPT_RENDERERS)
def _renderer(width: int, height: int, dpi: float) -> _Renderer:
    return _Renderer(width, height, dpi)  # type: ignore[no-untyped-call]
