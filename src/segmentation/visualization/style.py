"""Style shared by all figures: palette, fonts, layout and PNG output."""

from __future__ import annotations

import io
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import colors, font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from segmentation.visualization._fast_axes import Panel
from segmentation.visualization._fast_text import Canvas

P = ParamSpec("P")
T = TypeVar("T")

DPI = 120
INK, MUTED, RULE = "#1d2733", "#5b6673", "#d5dae0"
#: Marks the chosen k and the mean; no segment is black.
MARK = "#000000"

# Okabe and Ito (2008) without black, then more colours. With normal, deuteranopic or protanopic
# vision, no two of the twelve are closer than the closest two of Okabe and Ito.
PALETTE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#56b4e9",
    "#cc79a7",
    "#001580",
    "#e3d52e",
    "#952a2a",
    "#95ead4",
    "#6a6a6a",
    "#550000",
)

#: Font families for scripts that matplotlib's own font does not cover.
FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Malgun Gothic",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Arial Unicode MS",
)


def segment_color(segment: int) -> str:
    """Return the colour of a segment id; ids beyond twelve get lighter tints."""
    turn, index = divmod(segment, len(PALETTE))
    red, green, blue = (1 - (1 - part) * 0.55**turn for part in colors.to_rgb(PALETTE[index]))
    return str(colors.to_hex((red, green, blue)))


def segment_colors(k: int) -> NDArray[np.float64]:
    """Return the colours of ids 0..k-1, shape (k, 3), RGB between 0 and 1."""
    return np.array([colors.to_rgb(segment_color(segment)) for segment in range(k)])


# Looking for the installed fonts takes longer than a figure.
@cache
def _rc() -> dict[Any, Any]:
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fallbacks = [name for name in FALLBACK_FONTS if name in installed]
    return {
        "text.usetex": False,
        # Names come from customers' files: a "$" in one is a dollar, not the start of a formula.
        "text.parse_math": False,
        "text.color": INK,
        "font.family": ["DejaVu Sans", *fallbacks],
        "font.size": 9,
        "axes.labelsize": 9,
        "axes.labelcolor": INK,
        "axes.edgecolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.facecolor": "white",
        "axes.axisbelow": True,
        "axes.grid": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.unicode_minus": True,
        "axes.xmargin": 0.03,
        "axes.ymargin": 0.05,
        "figure.facecolor": "white",
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "patch.edgecolor": "white",
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "xtick.direction": "out",
        "ytick.direction": "out",
        "path.simplify": True,
    }


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a drawing function with the project's rcParams instead of the caller's."""

    @wraps(draw)
    def under_style(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(_rc()):
            return draw(*args, **kwargs)

    return under_style


def single(
    width: float,
    height: float,
    *,
    left: float = 0.75,
    right: float = 0.25,
    top: float = 0.75,
    bottom: float = 0.55,
) -> tuple[Figure, Axes]:
    """Create a figure with one panel; all lengths in inches.

    Margins are explicit because a layout engine would draw each figure twice.
    """
    figure = Figure((width, height), dpi=DPI)
    Canvas(figure)
    box = (
        left / width,
        bottom / height,
        (width - left - right) / width,
        (height - top - bottom) / height,
    )
    return figure, _panel(figure, box)


def panels(
    count: int,
    columns: int,
    *,
    size: tuple[float, float],
    gap: tuple[float, float],
    left: float = 0.6,
    right: float = 0.25,
    top: float = 1.0,
    bottom: float = 0.55,
    only: Sequence[int] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Create a figure of `count` equal panels in rows of `columns`; all lengths in inches.

    With `only`, just the panels at these positions are created.
    """
    columns = min(columns, count)
    rows = -(-count // columns)
    width = left + columns * size[0] + (columns - 1) * gap[0] + right
    height = top + rows * size[1] + (rows - 1) * gap[1] + bottom
    figure = Figure((width, height), dpi=DPI)
    Canvas(figure)
    axes = []
    for position in range(count) if only is None else only:
        row, column = divmod(position, columns)
        x = left + column * (size[0] + gap[0])
        y = height - top - (row + 1) * size[1] - row * gap[1]
        box = (x / width, y / height, size[0] / width, size[1] / height)
        axes.append(_panel(figure, box))
    return figure, axes


def _panel(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    axes = Panel(figure, box)
    figure.add_axes(axes)
    return axes


def headline(figure: Figure, finding: str, note: str = "") -> None:
    """Write the finding at the top left, with a note below it on what is drawn."""
    width, height = figure.get_size_inches()
    lines = textwrap.wrap(finding, max(20, int(width / 0.106)))[:2]
    figure.text(
        0.15 / width,
        1 - 0.13 / height,
        "\n".join(lines),
        va="top",
        fontsize=12,
        fontweight="bold",
        linespacing=1.15,
    )
    if note:
        figure.text(
            0.15 / width,
            1 - (0.19 + 0.21 * len(lines)) / height,
            shorten(note, int(width / 0.073)),
            va="top",
            fontsize=8.5,
            color=MUTED,
        )


def shorten(text: object, limit: int) -> str:
    """Put `text` on one line of at most `limit` columns, with an ellipsis if it is cut.

    The middle is cut, since column names often differ only in their last letters.
    """
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    if text_columns(line) <= limit:
        return line
    kept = min(len(line), limit) - 1
    while kept > 2 and text_columns(_cut(line, kept)) > limit:
        kept -= 1
    return _cut(line, kept)


def _cut(line: str, kept: int) -> str:
    tail = kept // 3
    return f"{line[: kept - tail].rstrip()}…{line[len(line) - tail :].lstrip()}"


def wrapped(name: str, width: int) -> str:
    """Wrap a segment's name to at most two lines of `width` columns, one per trait."""
    first, comma, second = name.partition(", ")
    if comma and text_columns(name) > width:
        return f"{shorten(first, width - 1)},\n{shorten(second, width)}"
    return shorten(name, width)


def text_columns(text: str) -> int:
    """Return the width of a text in columns; East Asian wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def text_inches(texts: Sequence[str], size: float = 8.5) -> float:
    """Estimate the width in inches of the widest line, for margins."""
    lines = [line for text in texts for line in text.split("\n")]
    return max((text_columns(line) for line in lines), default=0) * size * 0.56 / 72


def sample_rows(n: int, limit: int, seed: int) -> NDArray[np.intp]:
    """Return at most `limit` of `n` row positions in a seeded random order.

    The order is random even if all rows are kept: drawn segment by segment, the last segment would
    cover the others where they overlap.
    """
    order: NDArray[np.intp] = np.random.default_rng(seed).permutation(n)
    return order[:limit]


@styled
def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes, without date or version, so equal figures are equal."""
    canvas = Canvas(figure)
    with warnings.catch_warnings():
        # A letter missing from all fonts is drawn as a box; a warning would not help the user.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    # Takes half the time of the default level; the file is a fifth larger.
    _indexed(pixels).save(buffer, "png", dpi=(DPI, DPI), compress_level=3)
    return buffer.getvalue()


def _indexed(rgba: NDArray[np.uint8]) -> Image.Image:
    """Reduce the picture to its 256 most frequent colours: a third of the size.

    Every other pixel gets the nearest of them, so only blends along edges change. Pillow's
    ``quantize`` with the same palette takes five times as long (8 instead of 1.6 ms a figure, 6 %
    of a sweep) and is off by up to 4 of 255 in flat colours.
    """
    pixels = np.ascontiguousarray(rgba).view(np.uint32).ravel()
    starts = np.flatnonzero(np.concatenate([[True], pixels[1:] != pixels[:-1]]))
    lengths = np.diff(starts, append=len(pixels))
    # By hash: `np.unique` would sort them.
    where, found = pd.factorize(pixels[starts])
    counts = np.bincount(where, weights=lengths)
    rgb = found.view(np.uint8).reshape(-1, 4)[:, :3].astype(np.float32)
    palette = rgb[np.argsort(-counts, kind="stable")[:256]]
    # |p|² - 2 c·p of every colour c and entry p in one product: each pass over them takes as long.
    left = np.column_stack([-2 * rgb, np.ones(len(rgb), rgb.dtype)])
    right = np.vstack([palette.T, (palette**2).sum(axis=1)])
    nearest = (left @ right).argmin(axis=1).astype(np.uint8)
    image = Image.fromarray(np.repeat(nearest[where], lengths).reshape(rgba.shape[:2]))
    image.putpalette(palette.astype(np.uint8).tobytes())
    return image
