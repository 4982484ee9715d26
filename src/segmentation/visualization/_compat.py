"""Private parts of matplotlib that the figures use, under public names.

matplotlib has no public way to replace the ticks of an axis, or to cache the size or the pixels
of a text. These two dominate the drawing time: a sweep takes 50 % more CPU time without
`_fast_text` and 10 to 25 % more without `_fast_axes`. No other module uses a private part of
matplotlib. `PRIVATE` lists the ones used here; a test compares it with the installed version.
"""

# matplotlib's stubs omit attributes that subclasses of Axis use and override.
# mypy: disable-error-code="attr-defined, misc, no-untyped-call, no-any-return, union-attr"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis, YAxis
from matplotlib.backends.backend_agg import RendererAgg, get_hinting_flag
from matplotlib.font_manager import FontProperties
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


class OpenRenderer(RendererAgg):
    """Agg that draws masks."""

    def draw_mask(self, mask: NDArray[np.uint8], x: int, y: int, gc: Any) -> None:
        """Draw a mask in the colour of `gc` with its lower left corner at (x, y)."""
        self._renderer.draw_text_image(mask, x, y, 0, gc)


def drawn_text(text: str, prop: FontProperties, angle: float, dpi: float) -> Any:
    """Return a FreeType font that has laid out and drawn `text`, rotated by `angle` degrees.

    It draws all letters at once; matplotlib's `draw_text` draws letter by letter and takes three
    times as long.
    """
    font = RendererAgg(1, 1, dpi)._prepare_font(prop)
    font.set_text(text, angle, flags=get_hinting_flag())
    font.draw_glyphs_to_bitmap(antialiased=True)
    return font
