"""What the HTML pages share: one look, pictures inside the file, text that is escaped."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from segmentation.visualization.style import DPI


@dataclass(frozen=True)
class Picture:
    """A figure inside a page.

    Attributes
    ----------
    source : str
        The PNG as a ``data:`` address.
    text : str
        What it shows, for readers who do not see it.
    caption : str
        How to read it, shown below it; may be empty.
    width, height : int
        In CSS pixels.
    """

    source: str
    text: str
    caption: str
    width: int
    height: int


def picture(png: bytes, text: str, caption: str = "") -> Picture:
    """A PNG file made at the figures' resolution, to be put into a page."""
    # Width and height stand at fixed places of a PNG's header.
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    return Picture(
        source="data:image/png;base64," + base64.b64encode(png).decode(),
        text=text,
        caption=caption,
        width=round(width * 96 / DPI),
        height=round(height * 96 / DPI),
    )


def render(template: str, **content: Any) -> str:
    """A page of `templates/`, in one file that loads nothing.

    Parameters
    ----------
    template : str
        Name of the file.
    **content
        The template's variables; all text in them is escaped.
    """
    return _environment().get_template(template).render(**content)


def sentence(text: str) -> str:
    """`text` with a capital and a full stop."""
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
