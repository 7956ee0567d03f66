from typing import Any

import numpy as np
import pytest
from bokeh.models import GlyphRenderer

from analysis import draw
from analysis.canvas import COLOURS, HIDDEN, KINDS, draw_order, embed, empty_figure
from analysis.curves import curves
from analysis.figures import ladder, lr_batch_map
from analysis.rank import answer
from analysis.records import SearchRecord
from analysis.timing import timing


def renderers(plot: Any) -> dict[str, Any]:
    return {one.name: one for one in plot.renderers if isinstance(one, GlyphRenderer)}


def test_every_curve_is_drawn_in_every_kind_and_can_be_found_by_name(search: SearchRecord) -> None:
    best = answer(search).best
    data = curves(search, best)
    drawn = renderers(draw.draw_curves(data, search.max_tokens))
    for group in {line.group for line in data.lines}:
        lines = [line for line in data.lines if line.group == group]
        for kind in KINDS:
            found = drawn[f"curves|{group}|{kind}"]
            assert found.visible == (kind not in HIDDEN)
            columns = found.data_source.data
            assert len(columns[kind]) == len(lines)
            np.testing.assert_allclose(columns[kind][0], getattr(lines[0], kind), rtol=1e-6)


def test_marks_beyond_the_frame_are_drawn_at_its_edge(search: SearchRecord) -> None:
    data = curves(search, None)
    plot = draw.draw_curves(data, search.max_tokens)
    spikes = [one for name, one in renderers(plot).items() if str(name).endswith("|spike")]
    heights = [y for one in spikes for y in one.data_source.data["y"]]
    assert len(heights) == len(data.spikes)
    assert all(data.frame.low < y < data.frame.high for y in heights)


def test_the_other_figures_are_drawn_of_real_data(search: SearchRecord) -> None:
    best = answer(search).best
    found = lr_batch_map(search, best)
    assert found is not None
    steps = ladder(search, best)
    figures = {
        "map": draw.draw_map(found),
        "ladder": draw.draw_ladder(steps, search.max_tokens),
        "timeline": draw.draw_timeline(timing(search)),
        "comparison": draw.draw_comparison(steps.lines[:2]),
    }
    spots = [
        len(one.data_source.data["lr"]) for one in figures["map"].renderers if "lr" in one.data_source.data
    ]
    assert sum(spots) == len(found.spots)
    stopped = renderers(figures["ladder"])["ladder|halved|stopped"]
    assert len(stopped.data_source.data["x"]) == sum(not d.keep for d in steps.decisions)
    drawn = embed(figures)
    assert drawn.places.keys() == figures.keys()
    assert len(drawn.library) > 1e6


def test_a_page_without_figures_needs_no_library() -> None:
    assert embed({}).library == ""


def test_fingers_scroll_the_page() -> None:
    plot = empty_figure("tokens seen", "y")
    assert plot.toolbar.active_drag is None
    assert plot.sizing_mode == "stretch_width"


def test_the_best_is_drawn_last() -> None:
    assert draw_order(iter(["best", "doomed", "halved"])) == ["doomed", "halved", "best"]
    assert next(iter(COLOURS)) == "best"


@pytest.mark.parametrize(
    ("seconds", "unit"), [(40, "seconds"), (299, "seconds"), (301, "minutes"), (20_000, "hours")]
)
def test_time_axes_have_a_unit_that_fits(seconds: float, unit: str) -> None:
    assert draw._time_unit(seconds)[0] == unit
