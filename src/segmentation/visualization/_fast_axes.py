"""Axes that draw their ticks without one object per tick.

matplotlib creates five artists per tick, two thirds of them never visible. Creating the 230 ticks
of a run takes longer than drawing the rest of its figures. Here one line draws all marks of an
axis, another its grid, and a single text draws all labels in turn. Anything else (minor ticks,
ticks on the far side) is left to matplotlib.
"""

# matplotlib's stubs omit attributes that subclasses of Axis use and override.
# mypy: disable-error-code="attr-defined, index, misc, no-untyped-call, union-attr"
# mypy: disable-error-code="arg-type, no-any-return"

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axis import XAxis, YAxis
from matplotlib.lines import TICKDOWN, TICKLEFT, Line2D
from matplotlib.text import Text
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from segmentation.visualization._compat import OpenAxes, OpenAxis

#: Tick settings supported here.
KNOWN = {"size", "width", "color", "pad", "labelsize", "labelcolor", "labelrotation"}
KNOWN |= {"gridOn", "tick1On", "tick2On", "label1On", "label2On"}


class _PlainTicks(OpenAxis):
    """Major ticks at the bottom or the left."""

    _label_kw: Mapping[str, Any] = MappingProxyType({})
    _boxes: Sequence[Any] = ()
    _is_setting = False

    def reset_ticks(self) -> None:
        # matplotlib's own method would create a first tick of each kind.
        self.majorTicks, self.minorTicks = [], []
        if hasattr(self.axes, "patch"):
            self.set_clip_path(self.axes.patch)

    def set_ticks(
        self, ticks: Any, labels: Any = None, *, minor: bool = False, **kwargs: Any
    ) -> list[Any]:
        if minor:
            return list(super().set_ticks(ticks, labels, minor=True, **kwargs))
        self._label_kw = kwargs
        self._is_setting = True
        try:
            return list(super().set_ticks(ticks, labels, **kwargs))
        finally:
            self._is_setting = False

    def get_major_ticks(self, numticks: int | None = None) -> list[Any]:
        if self._is_setting:
            return []
        known = len(self.majorTicks)
        ticks = list(super().get_major_ticks(numticks))
        for tick in ticks[known:]:
            tick.label1.set(**self._label_kw)
        return ticks

    def get_majorticklabels(self) -> list[Any]:
        # The caller may change the labels, so matplotlib draws them from now on.
        self.get_major_ticks()
        return list(super().get_majorticklabels())

    def updated_ticks(self) -> list[Any]:
        return [] if self._is_plain() else list(super().updated_ticks())

    def get_ticks_position(self) -> str:
        if self._is_plain():
            return "bottom" if self.axis_name == "x" else "left"
        self.get_major_ticks(1)
        return str(super().get_ticks_position())

    def _is_plain(self) -> bool:
        settings = self.tick_settings
        return (
            not self.majorTicks
            and isinstance(self.get_minor_locator(), NullLocator)
            and set(settings) <= KNOWN
            and not settings.get("tick2On")
            and not settings.get("label2On")
            and not settings.get("labelrotation")
        )

    def draw(self, renderer: Any) -> None:
        if not self._is_plain():
            super().draw(renderer)
            return
        if not self.get_visible():
            return
        locations = np.asarray(self.get_majorticklocs(), dtype=float)
        texts = self.major.formatter.format_ticks(locations)
        seen = self._seen(locations)
        self._boxes = self._draw_ticks(
            renderer,
            locations[seen],
            [text for text, is_seen in zip(texts, seen, strict=True) if is_seen],
        )
        if self.label.get_text():
            self.place_label(renderer)
            self.label.draw(renderer)
        self.offsetText.set_text(self.major.formatter.get_offset())
        if self.offsetText.get_text():
            self.place_offset([*self._boxes])
            self.offsetText.draw(renderer)
        self.stale = False

    def tick_label_boxes(self, renderer: Any) -> tuple[list[Any], list[Any]]:
        if self._is_plain():
            return [*self._boxes], []
        return super().tick_label_boxes(renderer)

    def _seen(self, locations: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which locations are within the view limits, inclusive."""
        ends = self.get_transform().transform(self.get_view_interval())
        places = self.get_transform().transform(locations)
        slack = 1e-10 * abs(ends[1] - ends[0])
        seen: NDArray[np.bool_] = (places >= min(ends) - slack) & (places <= max(ends) + slack)
        return seen

    def _draw_ticks(
        self, renderer: Any, locations: NDArray[np.float64], texts: Sequence[str]
    ) -> list[Any]:
        """Draw grid, marks and labels; return the boxes of the labels in pixels."""
        if not len(locations):
            return []
        axes, settings, is_x = self.axes, self.tick_settings, self.axis_name == "x"
        name = "xtick" if is_x else "ytick"
        zeros = np.zeros(len(locations))

        def setting(key: str, rc: str) -> Any:
            value = settings.get(key)
            return mpl.rcParams[f"{name}.{rc}"] if value is None else value

        def line(along: Any, across: Any, **style: Any) -> None:
            transform = axes.get_xaxis_transform if is_x else axes.get_yaxis_transform
            drawn = Line2D(*((along, across) if is_x else (across, along)), **style)
            drawn.set_figure(axes.get_figure())
            drawn.axes = axes
            drawn.set_transform(transform("tick1" if style.get("marker") else "grid"))
            drawn.draw(renderer)

        if settings.get("gridOn"):
            # NaN breaks the path between one grid line and the next.
            along = np.repeat(locations, 3)
            across = np.tile([0.0, 1.0, np.nan], len(locations))
            line(
                along,
                across,
                color=mpl.rcParams["grid.color"],
                linewidth=mpl.rcParams["grid.linewidth"],
                linestyle=mpl.rcParams["grid.linestyle"],
                alpha=mpl.rcParams["grid.alpha"],
            )
        size, color = setting("size", "major.size"), setting("color", "color")
        if settings.get("tick1On", True) and size > 0:
            line(
                locations,
                zeros,
                linestyle="none",
                marker=TICKDOWN if is_x else TICKLEFT,
                markersize=size,
                markeredgewidth=setting("width", "major.width"),
                markeredgecolor=color,
            )
        if not settings.get("label1On", True):
            return []
        pad = setting("pad", "major.pad") + size
        place = axes.get_xaxis_text1_transform if is_x else axes.get_yaxis_text1_transform
        transform, va, ha = place(pad)
        label = Text(fontsize=setting("labelsize", "labelsize"), va=va, ha=ha)
        label_color = setting("labelcolor", "labelcolor")
        label.set(color=color if label_color == "inherit" else label_color, transform=transform)
        label.set(**self._label_kw)
        label.set_figure(axes.get_figure())
        label.axes = axes
        boxes = []
        for location, text in zip(locations, texts, strict=True):
            label.set_position((location, 0) if is_x else (0, location))
            label.set_text(text)
            label.draw(renderer)
            if text and self.label.get_text():
                boxes.append(label.get_window_extent(renderer))
        return boxes


class _X(_PlainTicks, XAxis):
    """The horizontal axis."""


class _Y(_PlainTicks, YAxis):
    """The vertical axis."""


class Panel(OpenAxes):
    """matplotlib's Axes with plain ticks."""

    x_class, y_class = _X, _Y

    def draw(self, renderer: Any) -> None:
        """Draw the panel, placing the spines, which matplotlib does when it creates ticks."""
        for spine in self.spines.values():
            if spine.get_visible():
                spine.get_spine_transform()
        super().draw(renderer)
