"""Shared parts of the HTML pages: layout, embedded pictures, escaping."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from segmentation.visualization.style import DPI


@dataclass(frozen=True)
class Picture:
    """A figure embedded in a page.

    Attributes
    ----------
    source : str
        The PNG as a ``data:`` URL.
    text : str
        Alternative text for readers who cannot see the figure.
    caption : str
        How to read the figure, shown below it; may be empty.
    width, height : int
        In CSS pixels.
    """

    source: str
    text: str
    caption: str
    width: int
    height: int


def picture(png: bytes, text: str, caption: str = "") -> Picture:
    """Embed a PNG that was drawn at the figures' resolution."""
    # A PNG header holds width and height at fixed offsets.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Picture(
        source="data:image/png;base64," + base64.b64encode(png).decode(),
        text=text,
        caption=caption,
        width=round(width * 96 / DPI),
        height=round(height * 96 / DPI),
    )


def render(template: str, **content: Any) -> str:
    """Render a page from `templates/` as one self-contained HTML file.

    Parameters
    ----------
    template : str
        File name of the template.
    **content
        Variables of the template; their text is escaped.
    """
    return _environment().get_template(template).render(**content)


def sentence(text: str) -> str:
    """Return `text` with a capital letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("segmentation.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
