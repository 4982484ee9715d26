"""Pixels of a figure: matplotlib's Agg with texts drawn once, and a small exact PNG.

A run draws some 300 short texts, mostly the same ones as the run before: names, tick labels, notes.
Laying out and rasterising them takes longer than all else in a picture, so the masks are kept.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

#: Masks kept, some 2 kB each.
KEPT_TEXTS = 8192
LONGEST = 300
#: Renderers kept: a sweep draws a dozen figures, most of the same sizes in every run.
KEPT_RENDERERS = 24


class _Renderer(RendererAgg):
    """Agg that remembers the sizes and masks of texts."""

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: Any
    ) -> tuple[float, float, float]:
        if ismath:
            return _size_anew(self, s, prop, ismath)
        return _size(s, prop.copy(), self.dpi)

    def _get_font_height_metrics(self, prop: FontProperties) -> tuple[float | None, ...]:
        # `Text` asks a renderer that has it, and else reads the font's tables for each text.
        return _heights(prop.copy(), self.dpi)

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
        mask, left, bottom = _mask(s, prop.copy(), float(angle), self.dpi)
        if mask.size:
            self._renderer.draw_text_image(mask, round(x) + left, round(y) + bottom, 0, gc)


def _size_anew(
    renderer: RendererAgg, s: str, prop: FontProperties, ismath: Any = False
) -> tuple[float, float, float]:
    size = RendererAgg.get_text_width_height_descent(renderer, s, prop, ismath)  # type: ignore[no-untyped-call]
    width, height, descent = size
    return float(width), float(height), float(descent)


@lru_cache(KEPT_TEXTS)
def _size(s: str, prop: FontProperties, dpi: float) -> tuple[float, float, float]:
    """Width, height and descent of a level text in pixels."""
    return _size_anew(_scratch(1, 1, dpi), s, prop)


@lru_cache(64)
def _heights(prop: FontProperties, dpi: float) -> tuple[float | None, ...]:
    """Ascent, descent and gap between lines in pixels, as the font's tables name them."""
    font = get_font(findfont(prop))
    lines, head = font.get_sfnt_table("OS/2"), font.get_sfnt_table("head")
    if lines is None or head is None:
        return (None, None, None)
    scale = prop.get_size_in_points() * dpi / 72 / head["unitsPerEm"]
    ascent, descent = lines["sTypoAscender"] * scale, -lines["sTypoDescender"] * scale
    return ascent, descent, lines["sTypoLineGap"] * scale


@lru_cache(KEPT_TEXTS)
def _mask(
    s: str, prop: FontProperties, angle: float, dpi: float
) -> tuple[NDArray[np.uint8], int, int]:
    """Coverage of a text's pixels, 0..255, and how far left and down of its start they reach.

    Parameters
    ----------
    s : str
    prop : FontProperties
    angle : float
        Degrees.
    dpi : float
    """
    width, height, _ = _size(s, prop, dpi)
    # Some letters reach out of their box, and a turned text any way.
    reach = int(max(width, height) + 2 * height) + 4
    level = angle == 0
    before, above = (int(2 * height) + 4,) * 2 if level else (reach, reach)
    after, below = (int(width + 2 * height) + 4, int(2 * height) + 4) if level else (reach, reach)
    scratch = _scratch(before + after, above + below, dpi)
    gc = scratch.new_gc()
    RendererAgg.draw_text(scratch, gc, before, above, s, prop, angle)  # type: ignore[no-untyped-call]
    alpha = np.asarray(scratch.buffer_rgba())[:, :, 3]  # type: ignore[no-untyped-call]
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    if not len(rows):
        return alpha[:0, :0].copy(), 0, 0
    inked = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return alpha[inked].copy(), int(columns[0]) - before, int(rows[-1]) + 1 - above


def _scratch(width: int, height: int, dpi: float) -> RendererAgg:
    return RendererAgg(width, height, dpi)  # type: ignore[no-untyped-call]


class Canvas(FigureCanvasAgg):
    """Agg canvas with the renderer above."""

    def get_renderer(self) -> _Renderer:
        """One for all figures of this size."""
        width, height = self.get_width_height(physical=True)
        renderer = _renderer(width, height, float(self.figure.dpi))
        self.renderer = renderer
        return renderer


@lru_cache(KEPT_RENDERERS)
def _renderer(width: int, height: int, dpi: float) -> _Renderer:
    return _Renderer(width, height, dpi)  # type: ignore[no-untyped-call]
