"""One style for all figures: transparent, readable on light and on dark pages, safe for colour-blind readers.

A figure in a notebook also leaves a summary of the arrays that it draws, as its text: pictures cannot be compared digit
by digit, their numbers can. The picture carries the same text inside, so that the two stay together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.collections import Collection, QuadMesh
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

__all__ = ["COLORS", "INK", "METHOD_COLORS", "summary", "use_style"]

FAR = 1e6  # lengths of an axis; what lies beyond is as far outside of the picture
#: Mid-tone of all lines and letters, with a contrast above 4 on the white and on the dark page.
INK = "#7d7d7d"

#: The colour-blind-safe palette of Okabe and Ito without its yellow and black, darkened to be seen on both pages.
COLORS = {
    "blue": "#2f8fd0",
    "orange": "#e08a00",
    "green": "#1fa37a",
    "red": "#d55e00",
    "purple": "#b86fa0",
    "sky": "#49a6dd",
}

#: One colour and one marker for each method in the whole book, so that a figure is readable without its colours. The
#: first four move points, the others train networks; SIP looks like PG, which it brings to networks, Adam like GD, and
#: Gauss-Newton like Newton.
METHOD_COLORS = {
    "GD": (COLORS["blue"], "o"),
    "Newton": (COLORS["orange"], "s"),
    "IG": (COLORS["purple"], "^"),
    "PG": (COLORS["green"], "D"),
    "SIP": (COLORS["green"], "D"),
    "GN": (COLORS["orange"], "s"),
    "HIG": (COLORS["purple"], "^"),
    "Adam": (COLORS["blue"], "o"),
    "SGD": (COLORS["red"], "v"),
    "Adadelta": (COLORS["purple"], "^"),
    "Adagrad": (COLORS["orange"], "s"),
    "RMSprop": (COLORS["sky"], "P"),
}


def use_style() -> None:
    """Set the book's style for all figures that follow, in matplotlib's own settings.

    In a notebook figures are from now on stored with their `summary`: as their text, and inside the picture's file.
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": "none",
            "savefig.facecolor": "none",
            "savefig.transparent": True,
            "figure.constrained_layout.use": True,
            "axes.facecolor": "none",
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "axes.titlecolor": INK,
            "axes.titlesize": "medium",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=list(COLORS.values())),
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "grid.color": INK,
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "legend.labelcolor": INK,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
        }
    )
    _keep_summaries()


def summary(figure: Figure) -> str:
    """What a figure draws, in numbers.

    One line for each pair of axes: the limits of x and of y. Below it one for everything drawn there: its kind, the
    number of its points, and mean, standard deviation and last value of x and y as parts of the axes' length, on the
    scale of the axes. Pictures are told by mean, standard deviation and last value of their colours, as parts of the
    range of the colours.

    Args:
        figure: the figure to describe.

    Returns:
        Some lines of text.
    """
    width, height = figure.get_size_inches()
    lines = [f"Figure, {width:g} by {height:g} inches"]
    for axes in figure.axes:
        limits = " to ".join(f"{limit:.4g}" for limit in axes.get_xlim())
        lines.append(f"  x {limits}, y {' to '.join(f'{limit:.4g}' for limit in axes.get_ylim())}")
        lines += [f"    {kind}: {content}" for kind, content in _contents(axes)]
    return "\n".join(lines)


def _contents(axes: Axes) -> Iterator[tuple[str, str]]:
    for line in axes.lines:
        if line.get_transform().contains_branch(axes.transData):
            yield "line", _points(axes, np.asarray(line.get_xydata()))  # as numbers, also where the axes have words
    for collection in axes.collections:
        colours = collection.get_array()
        if isinstance(collection, QuadMesh):
            yield "mesh", _colours(collection, colours)
            continue
        paths = [path.vertices for path in collection.get_paths()]
        offsets: np.ndarray = np.ma.filled(np.ma.asarray(collection.get_offsets(), float), np.nan)
        if collection.get_offset_transform().contains_branch(axes.transData) and len(offsets):
            yield "points", _points(axes, offsets)
            if isinstance(collection, Quiver):
                longest = np.hypot(collection.U, collection.V).max()
                arrows = " and ".join(_moments(np.ravel(part) / longest) for part in (collection.U, collection.V))
                yield "arrows", f"{np.size(collection.U)} arrows, {arrows}"
        elif paths:
            yield "paths", _points(axes, np.concatenate(paths))
        if colours is not None and np.size(colours):
            yield "colours", _colours(collection, colours)
    for patch in axes.patches:
        if patch.get_transform().contains_branch(axes.transData):
            vertices = patch.get_patch_transform().transform(patch.get_path().vertices)
            yield "patch", _points(axes, vertices)
    for image in axes.images:
        yield "image", _colours(image, image.get_array())


def _points(axes: Axes, points: np.ndarray) -> str:
    points = np.asarray(points, float)
    parts = []
    for scale, limits, values in (
        (axes.xaxis, axes.get_xlim(), points[:, 0]),
        (axes.yaxis, axes.get_ylim(), points[:, 1]),
    ):
        transform = scale.get_transform()
        with np.errstate(divide="ignore", invalid="ignore"):
            start, end = transform.transform(np.asarray(limits, float))
            placed = (transform.transform(values) - start) / (end - start)
        parts.append(_moments(placed))
    return f"{len(points)} points, x {parts[0]}, y {parts[1]}"


def _colours(mappable: Collection | Any, values: Any) -> str:
    values = np.ma.filled(np.ma.asarray(values, float), np.nan)
    low, high = mappable.get_clim()
    span = (high - low) if low is not None and high is not None and high > low else 1.0
    shape = " by ".join(str(size) for size in values.shape)
    return f"{shape} values, {_moments((values.ravel() - (low or 0.0)) / span)}"


def _moments(values: np.ndarray) -> str:
    finite = np.clip(values[np.isfinite(values)], -FAR, FAR)
    if not finite.size:
        return "nothing"
    return " ".join(f"{moment:.3f}".replace("-0.000", "0.000") for moment in (finite.mean(), finite.std(), finite[-1]))


def _keep_summaries() -> None:
    try:
        from IPython.core.getipython import get_ipython
        from IPython.core.pylabtools import print_figure
        from matplotlib import pyplot
    except ImportError:  # outside a notebook there is nothing to keep
        return
    shell = get_ipython()
    if shell is None or shell.display_formatter is None:
        return
    # The notebook's backend puts its own printer of figures in place of all others when it is loaded: load it now.
    pyplot.switch_backend(mpl.get_backend())
    formatters = shell.display_formatter.formatters

    def picture(figure: Figure) -> Any:
        return print_figure(figure, base64=True, metadata={"Description": summary(figure)})  # type: ignore[no-untyped-call]

    def text(figure: Figure, printer: Any, cycle: bool) -> None:
        printer.text(summary(figure))

    formatters["image/png"].for_type(Figure, picture)
    formatters["text/plain"].for_type(Figure, text)
