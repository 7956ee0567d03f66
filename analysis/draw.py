"""Draw the computed figures with Bokeh; nothing is computed here."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import (
    BasicTicker,
    ColorBar,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Label,
    LinearColorMapper,
    LogTickFormatter,
    Range1d,
    Span,
    Whisker,
)
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from analysis.canvas import COLOURS, GREY, HIDDEN, KINDS, SERIES, draw_order, empty_figure
from analysis.curves import EDGE, Curves, Line, Mark, about
from analysis.figures import EvalLine, Ladder, LrBatchMap
from analysis.timing import Timing
from spaces.words import seconds_text

NLL_COLOURS = list(Viridis256[50:240])
CROWD = 24
"""More curves than this of one group are drawn thinner."""
_MARKERS = {"finished": "circle", "best": "circle", "halved": "inverted_triangle", "doomed": "x"}


def draw_curves(data: Curves, max_tokens: int) -> figure:
    """Draw loss against tokens seen: raw, smoothed by 0.9 and by 0.98, and what happened.

    The slower smoothing is hidden at first: over 200 steps it lags so far that large batches look worse.
    """
    plot = empty_figure("tokens seen", "training loss, nats per token", x_range=(0, max_tokens * 1.01))
    plot.y_range = Range1d(data.frame.low, data.frame.high)
    hovered = []
    for group in draw_order(line.group for line in data.lines):
        lines = [line for line in data.lines if line.group == group]
        source = _curve_source(lines)
        crowded = len(lines) > CROWD
        wide = 2.6 if group == "best" else 0.9 if crowded else 1.4
        for kind in KINDS:
            drawn = plot.multi_line(
                xs="tokens",
                ys=kind,
                source=source,
                color=COLOURS[group],
                line_width=0.8 if kind == "raw" else wide,
                line_alpha=(0.12 if crowded else 0.28) if kind == "raw" else (0.5 if crowded else 0.9),
                visible=kind not in HIDDEN,
                name=f"curves|{group}|{kind}",
            )
            if kind != "raw":
                hovered.append(drawn)
    plot.add_tools(
        HoverTool(
            visible=False, renderers=hovered, tooltips=[("", "@about"), ("tokens", "$x{0,0}"), ("loss", "$y")]
        )
    )
    _marks(plot, data.spikes, data, "spike", "triangle", 10)
    _marks(plot, data.overflows, data, "overflow", "diamond", 7)
    return plot


def draw_map(data: LrBatchMap) -> figure:
    """Draw learning rate against effective batch size, coloured by eval NLL, the doomed region shaded."""
    extent = data.extent
    plot = empty_figure(
        "learning rate",
        "effective batch size",
        x_range=(10**extent.left, 10**extent.right),
        y_range=(extent.bottom, extent.top),
        x_axis_type="log",
    )
    plot.xaxis.formatter = LogTickFormatter()
    plot.yaxis.ticker = FixedTicker(ticks=[float(np.log2(batch)) for batch in data.batches])
    plot.yaxis.major_label_overrides = {float(np.log2(batch)): str(batch) for batch in data.batches}
    boxes = {
        "left": [10**box.left for box in data.doomed],
        "right": [10**box.right for box in data.doomed],
        "bottom": [box.bottom for box in data.doomed],
        "top": [box.top for box in data.doomed],
    }
    plot.quad(source=ColumnDataSource(boxes), color=COLOURS["doomed"], alpha=0.16, line_color=None)
    colours = LinearColorMapper(palette=NLL_COLOURS, low=data.nll_low, high=data.nll_high)
    spots = []
    for group in draw_order(spot.group for spot in data.spots):
        some = [spot for spot in data.spots if spot.group == group]
        columns = {
            "lr": [spot.trial.lr for spot in some],
            "batch": [spot.log2_batch for spot in some],
            "nll": [spot.trial.eval_nll for spot in some],
            "about": [about(spot.trial) for spot in some],
            "seen": [spot.trial.tokens_seen for spot in some],
        }
        doomed = group == "doomed"
        fill: Any = None if doomed else {"field": "nll", "transform": colours}
        spots.append(
            plot.scatter(
                x="lr",
                y="batch",
                source=ColumnDataSource(columns),
                marker=_MARKERS.get(group, "diamond"),
                size=19 if group == "best" else 13,
                fill_color=fill,
                line_color=COLOURS[group] if group in ("best", "doomed") else "#7a828e",
                line_width=3 if group in ("best", "doomed") else 1,
            )
        )
    plot.add_tools(
        HoverTool(visible=False, renderers=spots, tooltips=[("", "@about"), ("tokens trained", "@seen{0,0}")])
    )
    bar = ColorBar(color_mapper=colours, ticker=BasicTicker(desired_num_ticks=5), height=10, title="eval NLL")
    bar.background_fill_alpha = 0.0
    bar.title_text_color = bar.major_label_text_color = GREY
    bar.title_text_font_style = "normal"
    plot.add_layout(bar, "below")
    return plot


def draw_ladder(data: Ladder, max_tokens: int) -> figure:
    """Draw eval NLL against tokens seen with its standard errors, the rungs, and who was stopped there."""
    first = min((tokens for line in data.lines for tokens in line.tokens), default=1)
    plot = empty_figure(
        "tokens seen",
        "eval NLL, nats per token",
        x_range=(first * 0.85, max_tokens * 1.15),
        y_range=(data.low, data.high),
        x_axis_type="log",
    )
    rungs = sorted({rung.tokens for rung in data.rungs})
    plot.xaxis.ticker = FixedTicker(ticks=[*rungs, max_tokens])
    for tokens in rungs:
        plot.add_layout(
            Span(location=tokens, dimension="height", line_dash="dashed", line_color=GREY, line_width=1)
        )
    for rung, tokens in sorted({(rung.rung, rung.tokens) for rung in data.rungs}):
        plot.add_layout(
            Label(x=tokens, y=data.high, text=f"rung {rung}", x_offset=4, y_offset=-16, text_font_size="11px",
                  text_color=GREY)
        )  # fmt: skip
    for group in draw_order(line.group for line in data.lines):
        lines = [line for line in data.lines if line.group == group]
        _eval_lines(plot, lines, COLOURS[group], f"ladder|{group}", 2.6 if group == "best" else 1.3)
    stopped = [decision for decision in data.decisions if not decision.keep]
    columns = {
        "x": [d.tokens_seen for d in stopped],
        "y": [d.value for d in stopped],
        "about": [d.reason for d in stopped],
    }
    crosses = plot.scatter(
        x="x", y="y", source=ColumnDataSource(columns), marker="x", size=11, line_width=2, color=GREY,
        name="ladder|halved|stopped",
    )  # fmt: skip
    plot.add_tools(HoverTool(visible=False, renderers=[crosses], tooltips=[("", "@about")]))
    return plot


def draw_timeline(data: Timing) -> figure:
    """Draw which trial was on which slot, and when it only started up."""
    lanes = [f"slot {lane + 1}" for lane in range(len(data.lanes))]
    unit, seconds = _time_unit(data.wall_s)
    plot = empty_figure(
        f"{unit} since the search began", "", y_range=list(reversed(lanes)), height=130 + 30 * len(lanes)
    )
    plot.x_range = Range1d(0, max(data.wall_s, 1.0) * 1.005 / seconds)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("lane", "left", "right", "colour", "about", "alpha")
    }
    for block in data.blocks:
        ready = block.begin_s + block.spent.start
        best = block.trial.status
        group = "doomed" if block.trial.doomed else best
        told = f"{about(block.trial)}; {seconds_text(block.spent.start)} start-up, "
        told += f"{seconds_text(block.spent.train)} training, {seconds_text(block.spent.evaluate)} evaluation"
        for left, right, alpha in ((block.begin_s, ready, 0.25), (ready, block.end_s, 0.85)):
            values = (lanes[block.lane], left / seconds, right / seconds, COLOURS[group], told, alpha)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
    bars = plot.hbar(
        y="lane", left="left", right="right", height=0.7, color="colour", fill_alpha="alpha",
        line_color=None, source=ColumnDataSource(columns),
    )  # fmt: skip
    plot.add_tools(HoverTool(visible=False, renderers=[bars], tooltips=[("", "@about")]))
    plot.ygrid.visible = False
    return plot


def draw_comparison(lines: Sequence[EvalLine]) -> figure:
    """Draw the evaluations of the best trial of each search."""
    last = max(tokens for line in lines for tokens in line.tokens)
    low = min(y - e for line in lines for y, e in zip(line.nll, line.stderr, strict=True))
    high = max(y + e for line in lines for y, e in zip(line.nll, line.stderr, strict=True))
    room = EDGE * (high - low)
    ranges = {"x_range": (0, last * 1.05), "y_range": (low - room, high + room)}
    plot = empty_figure("tokens seen", "eval NLL of the best trial", height=320, **ranges)
    for place, line in enumerate(lines):
        _eval_lines(plot, [line], SERIES[place % len(SERIES)], f"comparison|{line.trial.search}", 2.2)
    return plot


def _time_unit(longest_s: float) -> tuple[str, float]:
    """Choose the unit of a time axis; return its name and its seconds."""
    units = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
    return next(unit for unit in units if longest_s >= 5 * unit[1] or unit[1] == 1.0)


def _curve_source(lines: Sequence[Line]) -> ColumnDataSource:
    def column(name: str) -> list[Any]:
        return [np.asarray(getattr(line, name), dtype=np.float32) for line in lines]

    named = {name: column(name) for name in ("tokens", *KINDS)}
    return ColumnDataSource({**named, "about": [about(line.trial) for line in lines]})


def _marks(plot: figure, marks: Sequence[Mark], data: Curves, kind: str, marker: str, size: int) -> None:
    """Draw marks by group; one outside the frame is drawn at its edge, its figures are in its words."""
    drawn, edge = [], 0.02 * (data.frame.high - data.frame.low)
    low, high = data.frame.low + edge, data.frame.high - edge
    for group in draw_order(mark.group for mark in marks):
        some = [mark for mark in marks if mark.group == group]
        columns = {
            "x": [mark.tokens for mark in some],
            "y": [min(max(mark.loss, low), high) for mark in some],
            "about": [f"{mark.trial.id}, {mark.told}" for mark in some],
        }
        drawn.append(
            plot.scatter(
                x="x", y="y", source=ColumnDataSource(columns), marker=marker, size=size, fill_alpha=0.5,
                color=COLOURS[group], name=f"curves|{group}|{kind}",
            )
        )  # fmt: skip
    if drawn:
        plot.add_tools(
            HoverTool(visible=False, renderers=drawn, tooltips=[("", "@about"), ("tokens", "@x{0,0}")])
        )


def _eval_lines(plot: figure, lines: Sequence[EvalLine], colour: str, name: str, width: float) -> None:
    source = ColumnDataSource({"x": [line.tokens for line in lines], "y": [line.nll for line in lines]})
    plot.multi_line(xs="x", ys="y", source=source, color=colour, line_width=width, name=f"{name}|line")
    points = [
        (tokens, nll, stderr, about(line.trial))
        for line in lines
        for tokens, nll, stderr in zip(line.tokens, line.nll, line.stderr, strict=True)
    ]
    columns = {
        "x": [x for x, _, _, _ in points],
        "y": [y for _, y, _, _ in points],
        "low": [y - stderr for _, y, stderr, _ in points],
        "high": [y + stderr for _, y, stderr, _ in points],
        "about": [told for _, _, _, told in points],
    }
    spots = ColumnDataSource(columns)
    dots = plot.scatter(x="x", y="y", source=spots, color=colour, size=6, name=f"{name}|dots")
    bars = Whisker(
        base="x", lower="low", upper="high", source=spots, line_color=colour, line_alpha=0.5,
        name=f"{name}|errors",
    )  # fmt: skip
    bars.upper_head.size = bars.lower_head.size = 5
    bars.upper_head.line_color = bars.lower_head.line_color = colour
    plot.add_layout(bars)
    tooltips = [("", "@about"), ("tokens", "@x{0,0}"), ("eval NLL there", "@y{0.0000}")]
    plot.add_tools(HoverTool(visible=False, renderers=[dots], tooltips=tooltips))
