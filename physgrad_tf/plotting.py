"""One style for all figures: transparent, readable on light and on dark pages, safe for colour-blind readers."""

from __future__ import annotations

import matplotlib as mpl
from cycler import cycler

__all__ = ["COLORS", "INK", "METHOD_COLORS", "use_style"]

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
    """Set the book's style for all figures that follow, in matplotlib's own settings."""
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
