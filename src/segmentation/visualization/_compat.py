"""What the figures take from private parts of matplotlib, under public names.

matplotlib has no public way to replace the ticks of an axis, nor to keep the size and the pixels of
a text. Both take longer than all else in these figures: without `_fast_text` a sweep costs half as
much CPU again, without `_fast_axes` a tenth to a quarter more. Nothing outside this module names a
private part of matplotlib; `PRIVATE` lists what is used, and a test compares it with the installed
version.
"""

# matplotlib's stubs leave out what subclasses of Axis share and change.
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
    """An axis whose steps a subclass may replace."""

    @property
    def tick_settings(self) -> dict[str, Any]:
        """What `tick_params` has set for the major ticks."""
        return self._major_tick_kw

    def updated_ticks(self) -> list[Any]:
        """The ticks in view, placed."""
        return super()._update_ticks()

    def tick_label_boxes(self, renderer: Any) -> tuple[list[Any], list[Any]]:
        """Boxes of the labels on the near and the far side, for the axis' own label."""
        return super()._get_tick_boxes_siblings(renderer)

    def place_label(self, renderer: Any) -> None:
        """Put the axis' own label beside the labels of its ticks."""
        self._update_label_position(renderer)

    def place_offset(self, boxes: list[Any]) -> None:
        """Put the common offset of the tick labels beside them."""
        self._update_offset_text_position(boxes, [])

    def _update_ticks(self) -> list[Any]:
        return self.updated_ticks()

    def _get_tick_boxes_siblings(self, renderer: Any) -> tuple[list[Any], list[Any]]:
        return self.tick_label_boxes(renderer)


class OpenAxes(Axes):
    """Axes with axes of other classes than matplotlib's `XAxis` and `YAxis`."""

    x_class: type[XAxis] = XAxis
    y_class: type[YAxis] = YAxis

    def _init_axis(self) -> None:
        super()._init_axis()
        # Nothing is set yet: matplotlib clears new axes after this.
        self.xaxis.__class__, self.yaxis.__class__ = self.x_class, self.y_class


class OpenRenderer(RendererAgg):
    """Agg that draws masks."""

    def draw_mask(self, mask: NDArray[np.uint8], x: int, y: int, gc: Any) -> None:
        """Draw a mask in the colour of `gc`, its lower left corner at a pixel."""
        self._renderer.draw_text_image(mask, x, y, 0, gc)


def drawn_text(text: str, prop: FontProperties, angle: float, dpi: float) -> Any:
    """A font of FreeType that has laid out and drawn a text, turned by some degrees.

    All letters at once: matplotlib's own `draw_text` goes letter by letter and takes three times as
    long.
    """
    font = RendererAgg(1, 1, dpi)._prepare_font(prop)
    font.set_text(text, angle, flags=get_hinting_flag())
    font.draw_glyphs_to_bitmap(antialiased=True)
    return font
