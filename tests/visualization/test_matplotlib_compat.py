"""The private parts of matplotlib that the figures use are as they were."""

from __future__ import annotations

import inspect

import matplotlib
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure

from segmentation.visualization import _compat

CHANGED = f"matplotlib {matplotlib.__version__} changed it: see visualization/_compat.py"


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [(owner, *each) for owner, methods in _compat.PRIVATE.items() for each in methods.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_private_method_takes_what_it_took(
    owner: type, name: str, parameters: tuple[str, ...]
) -> None:
    method = getattr(owner, name, None)
    assert method is not None, CHANGED
    assert tuple(inspect.signature(method).parameters) == parameters, CHANGED


def test_private_attributes_are_there() -> None:
    axis = Axes(Figure(), (0, 0, 1, 1)).xaxis
    assert isinstance(axis._major_tick_kw, dict), CHANGED  # type: ignore[attr-defined]
    renderer = RendererAgg(1, 1, 100)  # type: ignore[no-untyped-call]
    assert callable(renderer._renderer.draw_text_image), CHANGED


def test_a_font_lays_out_and_draws_a_text_at_once() -> None:
    font = _compat.drawn_text("text", matplotlib.font_manager.FontProperties(), 0.0, 100.0)
    assert font.get_image().max() > 100, CHANGED
    assert font.get_width_height()[0] > 0, CHANGED
