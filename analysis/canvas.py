"""What all figures share: colours, an empty figure, and how figures get into a page.

Colours of axes, grids and backgrounds come from the page's style sheet (`--bk-...` properties), which knows
light and dark. The colours of data are the same in both and tell groups apart for the colour-blind.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bokeh.embed import components
from bokeh.models import NumeralTickFormatter
from bokeh.plotting import figure
from bokeh.resources import Resources

COLOURS = {
    "best": "#0a9a6e",
    "finished": "#2f80d0",
    "halved": "#868e9a",
    "doomed": "#dd5522",
    "failed": "#b065ac",
    "running": "#1798ad",
    "cancelled": "#9b8560",
}
KINDS = {"raw": "raw", "ema_90": "smoothed 0.9", "ema_98": "smoothed 0.98"}
EVAL_KINDS = (
    ("line", "lines"),
    ("dots", "evaluations"),
    ("errors", "standard errors"),
    ("stopped", "stopped"),
)
HIDDEN = ("ema_98",)
SERIES = ("#0a9a6e", "#2f80d0", "#dd5522", "#b065ac", "#1798ad", "#9b8560", "#868e9a")
HEIGHT = 430
GREY = "#868e9a"
"""Readable on light and on dark, for the few texts that the style sheet does not reach."""


@dataclass(frozen=True)
class Drawn:
    """Figures ready for a page."""

    library: str
    """The script of the plotting library, whole."""
    script: str
    """Draws the figures; untrusted text in it is escaped."""
    places: dict[str, str]
    """Name of a figure -> the element it is drawn into."""


def embed(figures: dict[str, figure]) -> Drawn:
    """Turn figures into what a page embeds, without any address to load from."""
    library = Resources(mode="inline", components=["bokeh"]).render_js()
    if not figures:
        return Drawn("", "", {})
    script, places = components(figures)
    return Drawn(library, script, dict(places))


def empty_figure(x: str, y: str, height: int = HEIGHT, **options: Any) -> figure:
    """Return a figure without data; it takes the width of the page.

    Args:
        x: Label of the horizontal axis; `tokens seen` is written as `20k`.
        y: Label of the vertical axis.
        height: In pixels.
        options: Further arguments of Bokeh's `figure`.
    """
    plot = figure(
        height=height,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        toolbar_location="above",
        x_axis_label=x,
        y_axis_label=y,
        active_drag=None,  # a finger that scrolls the page must not be caught
        **options,
    )
    plot.toolbar.logo = None
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.major_tick_in = 0
    if x == "tokens seen":
        plot.xaxis.formatter = NumeralTickFormatter(format="0.[0]a")
    return plot


def draw_order(found: Iterable[str]) -> list[str]:
    """Order groups for drawing: the best one comes last and lies on top."""
    there = set(found)
    return [group for group in reversed(COLOURS) if group in there]
