"""matplotlib's Agg backend with cached texts.

A run draws about 300 short texts (names, tick labels, notes), most of which the previous run drew
too. Laying them out and drawing them takes longer than the rest of a figure, so the masks are
cached.
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

#: Maximum number of cached masks, about 2 kB each.
KEPT_TEXTS = 8192
LONGEST = 300
#: Maximum number of cached renderers. A sweep draws a dozen figures per run, mostly of equal size.
KEPT_RENDERERS = 24


class _Renderer(OpenRenderer):
    """Agg renderer that caches the sizes and masks of texts."""

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
        # A very long text is not a label, and its mask would be large.
        if ismath or not gc.get_antialiased() or len(s) > LONGEST:
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)  # type: ignore[no-untyped-call]
            return
        # Texts start on whole pixels, so a cached mask fits any position.
        _, mask, left, bottom = _text(s, prop.copy(), float(angle), self.dpi)
        if mask.size:
            self.draw_mask(mask, round(x) + left, round(y) + bottom, gc)


class _Text(NamedTuple):
    """The unrotated size of a text in pixels, and its picture.

    Attributes
    ----------
    size : tuple of float
        Width, height and descent.
    mask : ndarray of shape (rows, columns)
        Coverage of each pixel, 0 to 255.
    left, bottom : int
        Offset of the mask's lower left corner from the start of the text, to the right and down.
    """

    size: tuple[float, float, float]
    mask: NDArray[np.uint8]
    left: int
    bottom: int


@lru_cache(KEPT_TEXTS)
def _text(s: str, prop: FontProperties, angle: float, dpi: float) -> _Text:
    """Lay out and draw a text, rotated by `angle` degrees."""
    font = drawn_text(s, prop, angle, dpi)
    (width, height), descent = np.array(font.get_width_height()) / 64, font.get_descent() / 64
    mask = font.get_image().copy()
    # FreeType truncates letter positions to whole pixels, from the left and from the top.
    left = math.ceil(font.get_bitmap_offset()[0] / 64)
    bottom = len(mask) - math.floor(height - descent) - 1
    return _Text((float(width), float(height), descent), mask, left, bottom)


class Canvas(FigureCanvasAgg):
    """Agg canvas with the caching renderer."""

    def get_renderer(self) -> _Renderer:
        """Return the renderer shared by all figures of this size."""
        width, height = self.get_width_height(physical=True)
        renderer = _renderer(width, height, float(self.figure.dpi))
        self.renderer = renderer
        return renderer


# A sweep draws the same sizes in every run: 38 of 480 ms of CPU a run.
@lru_cache(KEPT_RENDERERS)
def _renderer(width: int, height: int, dpi: float) -> _Renderer:
    return _Renderer(width, height, dpi)  # type: ignore[no-untyped-call]
