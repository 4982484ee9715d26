"""How segments split and mix as k grows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from segmentation.evaluation.formats import percent
from segmentation.visualization.maps import principal_components
from segmentation.visualization.scales import k_axis, number_axis
from segmentation.visualization.style import (
    MUTED,
    headline,
    segment_colors,
    single,
    styled,
)

#: Customers drawn; more would not move any band by a pixel.
ROWS = 20_000


@styled
def clustergram(
    Z: NDArray[np.float64],
    labels: Mapping[int, NDArray[np.int32]],
    segments: NDArray[np.int32],
) -> Figure | None:
    """Draw a clustergram: the clusters of every k and the customers that flow between them.

    Each cluster is drawn at its mean along one axis, with an area proportional to its size. The
    width of a band is the number of customers that move from one k to the next (Schonlau 2002,
    Stata Journal 2(4), 391-402). The axis is the direction in the plane of the first two principal
    components that keeps the final segments farthest apart. On the first component alone, as on
    Schonlau's plain mean, segments that differ elsewhere would overlap. A cluster has the colour
    of the final segment that most of its members belong to.

    Parameters
    ----------
    Z : ndarray of shape (n, d)
        Scaled customers.
    labels : mapping of k to ndarray of shape (n,)
        Cluster indices for every fitted k.
    segments : ndarray of shape (n,)
        Final segment ids.

    Returns
    -------
    Figure or None
        None if fewer than two k were fitted.
    """
    ks = sorted(labels)
    if len(ks) < 2:
        return None
    chosen = int(segments.max()) + 1
    score, share = _projection(Z, segments, chosen)
    colors = segment_colors(chosen)
    n = len(Z)
    figure, ax = single(7.8, 4.6, left=0.75)
    previous: NDArray[np.float64] | None = None
    lines: list[list[tuple[float, float]]] = []
    widths, shades, places, areas, fills = [], [], [], [], []
    for position, k in enumerate(ks):
        sizes = np.bincount(labels[k], minlength=k)
        means = np.bincount(labels[k], weights=score, minlength=k) / np.maximum(sizes, 1)
        majority = _flows(labels[k], segments, k, chosen).argmax(axis=1)
        if previous is not None:
            before = ks[position - 1]
            flows = _flows(labels[before], labels[k], before, k)
            start, end = np.nonzero(flows)
            lines += [
                [(before, previous[a]), (k, means[b])] for a, b in zip(start, end, strict=True)
            ]
            widths.append(0.15 + 17 * flows[start, end] / n)
            shades.append(colors[majority[end]])
        places.append(np.column_stack([np.full(k, k), means]))
        areas.append(12 + 420 * sizes / n)
        fills.append(colors[majority])
        previous = means
    flow = LineCollection(
        lines,
        linewidths=np.concatenate(widths),
        colors=np.concatenate(shades),
        alpha=0.38,
        capstyle="butt",
        zorder=1,
    )
    ax.add_collection(flow)
    x, y = np.concatenate(places).T
    ax.scatter(
        x,
        y,
        s=np.concatenate(areas),
        c=np.concatenate(fills),
        edgecolors="white",
        linewidths=0.8,
        zorder=3,
    )
    ax.axvline(chosen, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0.8)
    k_axis(ax, ks)
    ax.margins(y=0.1)
    ax.autoscale_view(scalex=False)
    number_axis(ax.yaxis)
    ax.set_xlabel("number of segments k")
    ax.set_ylabel(f"mean along one direction ({percent(share)} of the variance)")
    headline(
        figure,
        f"How the customers split as k grows, coloured by the {chosen} final segments"
        if chosen > 1
        else "How the customers split as k grows",
        "clustergram; area: customers in the cluster; width: customers who move on; "
        "dashed: the chosen k",
    )
    return figure


def _flows(
    a: NDArray[np.int32], b: NDArray[np.int32], rows: int, columns: int
) -> NDArray[np.int64]:
    """Count the customers in each pair of clusters, shape (rows, columns)."""
    pairs = a.astype(np.int64) * columns + b
    counts: NDArray[np.int64] = np.bincount(pairs, minlength=rows * columns)
    return counts.reshape(rows, columns)


def _projection(
    Z: NDArray[np.float64], segments: NDArray[np.int32], k: int
) -> tuple[NDArray[np.float64], float]:
    """Return the scores along the drawn direction, shape (n,), and its share of variance."""
    scores, shares, _ = principal_components(Z, 2)
    if k < 3 or len(shares) < 2:
        return scores[:, 0], float(shares[0])
    sizes = np.maximum(np.bincount(segments, minlength=k), 1)
    means = np.array([np.bincount(segments, weights=axis, minlength=k) for axis in scores.T])
    angles = np.linspace(0, np.pi, 90, endpoint=False)
    directions = np.array([np.cos(angles), np.sin(angles)])
    gaps = np.diff(np.sort((means / sizes).T @ directions, axis=0), axis=0).min(axis=0)
    best = directions[:, gaps.argmax()]
    return scores @ best, float(shares @ best**2)
