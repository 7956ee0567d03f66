"""A search in MLflow's own pages, as somebody sees it who follows the lines that the command prints."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from analysis.answer import tell
from analysis.rank import answer
from search.tracking_uri import page_at
from spaces.words import value_text
from tests.browser.chromium import WAIT_MS, shot, watch
from tests.browser.conftest import Tracked
from tests.browser.dashboard import dashboard

pytestmark = pytest.mark.browser
RUN_NAME = "attributes.`Run Name`"
SCREEN = {"width": 1900, "height": 1000}


@pytest.fixture(scope="session")
def address(tracked: Tracked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dashboard(tracked.uri, tmp_path_factory.mktemp("dashboard") / "log") as started:
        yield started.address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(viewport=SCREEN)  # type: ignore[arg-type]
    page = context.new_page()
    seen = watch(page)
    yield page
    context.close()
    assert not seen.outside(address, "data:", "blob:"), "MLflow's pages asked somebody else"


def cells(page: Page, column: str) -> Locator:
    """The values of a column of the table of runs, from the top."""
    return page.locator(f'[role=gridcell][col-id="{column}"]')


def in_order(page: Page, column: str) -> list[str]:
    found: list[list[str]] = cells(page, column).evaluate_all(
        """all => all.map(cell =>
            [cell.closest("[role=row]").getAttribute("row-index"), cell.innerText.trim()])"""
    )
    ordered = sorted(found, key=lambda pair: int(pair[0]))
    return [text.splitlines()[-1] for _, text in ordered]  # above a run's name stands its colour


def top(page: Page) -> Locator:
    """The run in the first row."""
    return page.locator(f'[row-index="0"] [col-id="{RUN_NAME}"]').get_by_role("link")


def header(page: Page, metric: str) -> Locator:
    return page.locator(f'.ag-header-cell[col-id="metrics.`{metric}`"]').get_by_text(metric)


def charts(page: Page, group: str) -> Locator:
    """The heading of a group of charts."""
    headings = page.get_by_test_id("experiment-view-compare-runs-section-header")
    return headings.filter(has_text=re.compile(rf"^{group}\s*\("))


def scroll_to_charts(page: Page, group: str, wait_ms: int = WAIT_MS) -> None:
    """Bring a group of charts into view: MLflow draws only those that are."""
    charts(page, group).scroll_into_view_if_needed(timeout=wait_ms)
    charts(page, group).hover(timeout=wait_ms)
    page.mouse.wheel(0, 300)


def open_trials(page: Page, address: str, tracked: Tracked) -> Page:
    """Follow the description's link to the table of trials."""
    page.goto(page_at(address, tracked.address))
    with page.expect_popup() as opened:
        page.get_by_role("link", name="all trials by eval NLL").click()
    expect(cells(opened.value, "metrics.`eval/nll`").first).to_be_visible()
    return opened.value


def test_the_search_and_its_trials_are_found_from_the_start_page(
    page: Page, address: str, tracked: Tracked, shots: Path
) -> None:
    page.goto(address)
    expect(page.get_by_role("link", name="exp9")).to_be_visible()
    expect(page.get_by_text("A search for tests.")).to_be_visible()
    shot(page, shots, "mlflow-start")
    page.get_by_role("button", name="Model training").click()
    page.get_by_role("link", name="exp9").first.click()
    runs = page.get_by_role("gridcell")
    expect(runs.get_by_role("link", name="exp9", exact=True)).to_be_visible()
    runs.filter(has=page.get_by_role("link", name="exp9", exact=True)).get_by_role("button").click()
    for trial in tracked.search.trials:
        expect(runs.get_by_role("link", name=trial.id)).to_be_visible()
    shot(page, shots, "mlflow-runs")


def test_the_run_of_the_search_opens_on_its_answer(
    page: Page, address: str, tracked: Tracked, shots: Path
) -> None:
    page.goto(page_at(address, tracked.address))
    best = answer(tracked.search).best
    assert best is not None
    size = best.params["optim.effective_batch_size"]
    told = f"lr {value_text(best.lr)}, effective batch size {size}, eval NLL {best.eval_nll:.4f}"
    headline = page.get_by_text(f"{best.id} is the best: {told}")
    expect(headline).to_be_in_viewport()
    shot(page, shots, "mlflow-search")
    page.get_by_text("Show more").click()
    for trial in tracked.search.trials:
        if trial.doomed:
            row = page.get_by_role("row").filter(has=page.get_by_role("link", name=trial.id))
            expect(row).to_contain_text(trial.reason)
    shot(page, shots, "mlflow-search-open")


def test_the_table_of_trials_shows_what_matters_and_sorts_it(
    page: Page, address: str, tracked: Tracked, shots: Path
) -> None:
    table = open_trials(page, address, tracked)
    shot(table, shots, "mlflow-trials")
    scored = sorted(
        (t for t in tracked.search.trials if t.eval_nll is not None), key=lambda t: t.eval_nll or 0
    )
    unscored = [t for t in tracked.search.trials if t.eval_nll is None]
    names = in_order(table, RUN_NAME)
    assert names[: len(scored)] == [t.id for t in scored]
    assert set(names[len(scored) :]) == {t.id for t in unscored}
    statuses = in_order(table, "tags.`status`")
    assert statuses == [tracked.search.trial(int(name[-4:])).status for name in names]
    reasons = in_order(table, "tags.`reason`")
    assert reasons == [tracked.search.trial(int(name[-4:])).reason for name in names]
    sizes = in_order(table, "metrics.`trial/effective_batch_size`")
    assert [float(size) for size in sizes] == [
        tracked.search.trial(int(name[-4:])).params["optim.effective_batch_size"] for name in names
    ]
    header(table, "eval/nll").click()
    expect(top(table)).not_to_have_text(scored[0].id)
    assert in_order(table, RUN_NAME)[: len(scored)] == [t.id for t in reversed(scored)]
    header(table, "trial/lr").click()
    by_lr = sorted(tracked.search.trials, key=lambda t: t.lr)
    expect(top(table)).to_have_text(by_lr[-1].id)
    assert in_order(table, RUN_NAME) == [t.id for t in reversed(by_lr)]


def test_a_trial_opens_on_its_reason_and_its_charts_in_groups(
    page: Page, address: str, tracked: Tracked, shots: Path
) -> None:
    trial = next(t for t in tracked.search.trials if t.status == "halved")
    page.goto(f"{address}/#/experiments/1/runs/{tracked.runs[trial.number]}?workflowType=machine_learning")
    expect(page.get_by_text(trial.reason).first).to_be_visible()
    shot(page, shots, "mlflow-trial")
    page.get_by_role("tab", name="Model metrics").click()
    for group in ("eval", "loss", "optim", "overflow"):
        expect(charts(page, group)).to_be_attached()
    scroll_to_charts(page, "loss")
    expect(page.get_by_text("ema_90", exact=True)).to_be_visible()
    expect(page.locator(".js-plotly-plot .scatterlayer path.js-line").first).to_be_attached()
    shot(page, shots, "mlflow-charts")


def test_the_report_is_read_inside_mlflow(page: Page, address: str, tracked: Tracked, shots: Path) -> None:
    page.goto(page_at(address, tracked.address))
    with page.expect_popup() as opened:
        page.get_by_role("link", name="the report").click()
    inside = opened.value.frame_locator("iframe")
    headline = tell(tracked.search, answer(tracked.search), 0.0).headline
    expect(inside.locator(".headline")).to_have_text(headline)
    expect(inside.locator("#figure-curves canvas").first).to_be_visible()
    inside.get_by_role("link", name="Rungs").click()
    expect(inside.get_by_role("heading", name="Rungs")).to_be_in_viewport()
    shot(opened.value, shots, "mlflow-report")
