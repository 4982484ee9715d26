"""Texts are drawn once: sizes, masks and places agree with matplotlib's own."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from segmentation.visualization._fast_axes import Panel
from segmentation.visualization._fast_text import LONGEST, Canvas


def pixels(figure: Figure, canvas: type[FigureCanvasAgg]) -> NDArray[np.int_]:
    drawn = canvas(figure)
    drawn.draw()
    return np.asarray(drawn.buffer_rgba()).astype(int)[:, :, 0]


def with_text(text: str, *, rotation: float = 0) -> Figure:
    figure = Figure((3, 3), dpi=100)
    # On a whole pixel, where both put it.
    figure.text(0.4, 0.4, text, rotation=rotation, fontsize=9)
    return figure


@pytest.mark.parametrize("rotation", [0, 40, 90])
@pytest.mark.parametrize("text", ["Wgj|", "two\nlines", "über ±", "x" * (LONGEST + 1)])
def test_a_text_is_drawn_as_matplotlib_draws_it(text: str, rotation: float) -> None:
    ours = pixels(with_text(text, rotation=rotation), Canvas)
    theirs = pixels(with_text(text, rotation=rotation), FigureCanvasAgg)
    # The ink is the same; it may stand part of a pixel elsewhere.
    assert (255 - ours).sum() == pytest.approx((255 - theirs).sum(), rel=0.03)
    for axis in (0, 1):
        edges = [np.flatnonzero((each < 200).any(axis=axis))[[0, -1]] for each in (ours, theirs)]
        assert np.abs(edges[0] - edges[1]).max() <= 1


def test_a_text_is_the_same_the_second_time() -> None:
    assert (pixels(with_text("again"), Canvas) == pixels(with_text("again"), Canvas)).all()


def axes(kind: str) -> Figure:
    figure = Figure((4, 3), dpi=100)
    box = (0.25, 0.25, 0.7, 0.6)
    ax = Panel(figure, box) if kind == "ours" else mpl.axes.Axes(figure, box)
    figure.add_axes(ax)
    ax.plot([0, 3], [10, 400])
    ax.set_xticks([0, 1, 2.5], ["none", "one", "more\nthan two"], fontsize=7)
    ax.tick_params(axis="y", length=6, pad=8, labelsize=6)
    ax.grid(axis="y")
    ax.set(xlabel="along", ylabel="up", title="title")
    return figure


def test_ticks_grid_and_labels_stand_where_matplotlib_puts_them() -> None:
    ours, theirs = (pixels(axes(kind), FigureCanvasAgg) for kind in ("ours", "matplotlib's"))
    assert (np.abs(ours - theirs) > 60).mean() < 0.002


def test_who_asks_for_tick_labels_may_change_them() -> None:
    figure = axes("ours")
    labels = figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["none", "one", "more\nthan two"]
    assert {label.get_fontsize() for label in labels} == {7}
    before = pixels(axes("ours"), FigureCanvasAgg)
    assert (np.abs(pixels(figure, FigureCanvasAgg) - before) > 60).mean() < 0.002
    for label in labels:
        label.set_visible(False)
    assert (pixels(figure, FigureCanvasAgg) != before).any()
