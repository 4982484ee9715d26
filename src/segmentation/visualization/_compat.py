"""Private parts of matplotlib that the figures use, under public names.

matplotlib has no public way to replace the ticks of an axis, or to cache the layout or the pixels
of a text. These two dominate the drawing time: a sweep takes 50 % more CPU time without
`_fast_text` and 10 to 25 % more without `_fast_axes`. No other module uses a private part of
matplotlib. `PRIVATE` lists the ones used here; a test compares it with the installed version.
"""

# matplotlib's stubs omit attributes that subclasses of Axis use and override.
# mypy: disable-error-code="attr-defined, misc, no-untyped-call, no-any-return, union-attr"

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis, YAxis
from matplotlib.backends.backend_agg import RendererAgg, get_hinting_flag
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from numpy.typing import NDArray

#: Private methods by class, with their parameters.
PRIVATE: Mapping[type, Mapping[str, tuple[str, ...]]] = {
    Axis: {
        "_update_ticks": ("self",),
        "_get_tick_boxes_siblings": ("self", "renderer"),
        "_update_label_position": ("self", "renderer"),
        "_update_offset_text_position": ("self", "bboxes", "bboxes2"),
    },
    Axes: {"_init_axis": ("self",)},
    Text: {"_get_layout": ("self", "renderer"), "_get_multialignment": ("self",)},
    RendererAgg: {"_prepare_font": ("self", "font_prop")},
}


class OpenAxis(Axis):
    """An axis whose drawing steps a subclass may override."""

    @property
    def tick_settings(self) -> dict[str, Any]:
        """Settings made by `tick_params` for the major ticks."""
        return self._major_tick_kw

    def updated_ticks(self) -> list[Any]:
        """Return the ticks in view, in place."""
        return super()._update_ticks()

    def tick_label_boxes(self, renderer: Any) -> tuple[list[Any], list[Any]]:
        """Return the label boxes on the near and the far side, to place the axis label."""
        return super()._get_tick_boxes_siblings(renderer)

    def place_label(self, renderer: Any) -> None:
        """Place the axis label next to the tick labels."""
        self._update_label_position(renderer)

    def place_offset(self, boxes: list[Any]) -> None:
        """Place the offset text next to the tick labels."""
        self._update_offset_text_position(boxes, [])

    def _update_ticks(self) -> list[Any]:
        return self.updated_ticks()

    def _get_tick_boxes_siblings(self, renderer: Any) -> tuple[list[Any], list[Any]]:
        return self.tick_label_boxes(renderer)


class OpenAxes(Axes):
    """Axes whose x and y axis may be subclasses of matplotlib's."""

    x_class: type[XAxis] = XAxis
    y_class: type[YAxis] = YAxis

    def _init_axis(self) -> None:
        super()._init_axis()
        # Safe here: matplotlib clears new axes only after this call.
        self.xaxis.__class__, self.yaxis.__class__ = self.x_class, self.y_class


class OpenText(Text):
    """A text whose layout a subclass may cache."""

    def layout(self, renderer: Any, key: tuple[Any, ...]) -> Any:
        """Return the layout of lines and letters; equal keys have equal layouts."""
        return super()._get_layout(renderer)

    def _get_layout(self, renderer: Any) -> Any:
        key = (
            *(self.get_text(), self.get_fontproperties().copy(), self.get_figure(root=True).dpi),
            *(self.get_ha(), self.get_va(), self.get_rotation(), self.get_rotation_mode()),
            *(self._linespacing, self._get_multialignment()),
        )
        return self.layout(renderer, key)


class OpenRenderer(RendererAgg):
    """Agg renderer that takes font heights from a subclass and draws masks."""

    #: Ascent, descent and line gap of a font in pixels, for `Text`. matplotlib's own version reads
    #: the font's tables each time a text is drawn.
    font_heights: Callable[[FontProperties, float], tuple[float | None, ...]]

    def draw_mask(self, mask: NDArray[np.uint8], x: int, y: int, gc: Any) -> None:
        """Draw a mask in the colour of `gc` with its lower left corner at (x, y)."""
        self._renderer.draw_text_image(mask, x, y, 0, gc)

    def _get_font_height_metrics(self, prop: FontProperties) -> tuple[float | None, ...]:
        return type(self).font_heights(prop.copy(), self.dpi)


def drawn_text(text: str, prop: FontProperties, angle: float, dpi: float) -> Any:
    """Return a FreeType font that has laid out and drawn `text`, rotated by `angle` degrees.

    It draws all letters at once; matplotlib's `draw_text` draws letter by letter and takes three
    times as long.
    """
    font = RendererAgg(1, 1, dpi)._prepare_font(prop)
    font.set_text(text, angle, flags=get_hinting_flag())
    font.draw_glyphs_to_bitmap(antialiased=True)
    return font
