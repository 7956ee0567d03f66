"""The report page, opened from the disk by a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from analysis.answer import tell
from analysis.rank import answer
from tests.browser.chromium import Seen, painted, shot, watch
from tests.browser.conftest import Tracked

pytestmark = pytest.mark.browser
FIGURES = ("curves", "map", "ladder", "timeline")
DESK, PHONE = (1200, 900), (390, 844)
# Contrast of every text that has one, against the nearest background that is painted (WCAG 2.2, 1.4.3).
CONTRAST = """
() => {
  const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const back = numbers(getComputedStyle(at).backgroundColor);
      if (back.length === 3 || back[3] === 1) return back;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("main *, header *, nav *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(".figure")) continue;
    const [a, b] = [light(numbers(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(1)}`);
  }
  return poor;
}
"""


@contextmanager
def opened(
    browser: Browser, path: Path, scheme: Literal["light", "dark"], size: tuple[int, int]
) -> Iterator[tuple[Page, Seen]]:
    phone = size == PHONE
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": size[0], "height": size[1]}, is_mobile=phone, has_touch=phone
    )
    page = context.new_page()
    seen = watch(page)
    page.goto(path.as_uri())
    for figure in FIGURES:
        expect(page.locator(f"#figure-{figure} canvas").first).to_be_attached()
    page.wait_for_function("Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle")
    yield page, seen
    context.close()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_its_answer_and_its_figures_and_asks_nobody(
    browser: Browser, tracked: Tracked, shots: Path, scheme: Literal["light", "dark"], size: tuple[int, int]
) -> None:
    told = tell(tracked.search, answer(tracked.search), 0.0)
    with opened(browser, tracked.page, scheme, size) as (page, seen):
        expect(page.locator(".headline")).to_have_text(told.headline)
        expect(page.locator(".headline")).to_be_in_viewport()
        blank = [figure for figure in FIGURES if painted(page, f"#figure-{figure}") == 0]
        width = page.evaluate("document.documentElement.scrollWidth")
        poor = page.evaluate(CONTRAST)
        shot(page, shots, f"report-{scheme}-{'phone' if size == PHONE else 'desk'}", whole=True)
        assert not blank
        assert width <= size[0], "the page scrolls sideways"
        assert not poor, "texts that are hard to read"
        assert not seen.outside("file:", "data:", "blob:")
        assert not seen.errors


def test_a_chip_hides_its_curves_and_shows_them_again(browser: Browser, tracked: Tracked) -> None:
    with opened(browser, tracked.page, "light", DESK) as (page, seen):
        chip = page.locator("[data-figure=curves] [data-group=halved]")
        shown = "Bokeh.documents[0].get_model_by_name('curves|halved|ema_90').visible"
        before = painted(page, "#figure-curves")
        assert page.evaluate(shown) is True
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "false")
        assert page.evaluate(shown) is False
        page.wait_for_function("Bokeh.documents[0].is_idle")
        page.wait_for_timeout(200)  # the next frame paints
        assert painted(page, "#figure-curves") != before
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        assert page.evaluate(shown) is True
        assert not seen.errors


def test_a_figure_tells_what_the_pointer_is_on(browser: Browser, tracked: Tracked, shots: Path) -> None:
    with opened(browser, tracked.page, "light", DESK) as (page, _):
        place = page.locator("#figure-map")
        place.scroll_into_view_if_needed()
        across, down, name = page.evaluate(
            """() => {
              const view = [...Bokeh.index].find(one => one.model.x_scale?.type === "LogScale");
              const {lr, batch, about} = view.model.renderers.find(one => one.data_source?.data.lr)
                .data_source.data;
              const box = view.el.getBoundingClientRect(), frame = view.frame;
              return [box.left + frame.x_scale.compute(lr[0]),
                      box.top + frame.y_scale.compute(batch[0]), about[0]];
            }"""
        )
        page.mouse.move(across, down)
        expect(page.get_by_text(name).last).to_be_visible()
        shot(page, shots, "report-hover")
