"""A large search in MLflow's pages: 200 trials with 2,000 points of each loss."""

import json
import math
import sqlite3
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import psutil
import pytest
from playwright.sync_api import Browser, expect

from search.tracking import Tracker
from search.tracking_uri import ENVIRONMENT, page_at
from tests.browser.chromium import shot, watch
from tests.browser.dashboard import dashboard
from tests.browser.test_dashboard import header, in_order, scroll_to_charts, top
from tests.unit.analysis.written import START, experiment, write_search

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TRIALS, POINTS = 200, 2_000
LOSSES = ("loss/raw", "loss/ema_90", "loss/ema_98")
SCREEN = {"width": 1900, "height": 1000}
WAIT_MS = 120_000


def points(run: str) -> Iterator[tuple[str, float, int, str, int, int]]:
    for number, key in enumerate(LOSSES):
        for i in range(POINTS):
            value = 3 + math.exp(-i / 500) + 0.3 * math.sin(i * (number + 7)) / (1 + 9 * number)
            yield key, value, int(START * 1000) + i, run, 10 * i, 0


def test_two_hundred_trials_stay_usable(
    browser: Browser,
    tmp_path: Path,
    shots: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    about = experiment("exp9", TRIALS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = write_search(tmp_path, about)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    tracker = Tracker(uri, about, folder)
    tracker.start()
    assert tracker.flush(600)
    tracker.close(10)
    runs = tracker.run_ids()
    # How fast figures are written is measured elsewhere; these go into the table as they are.
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute(f"DELETE FROM metrics WHERE key IN {LOSSES}")
        for run in runs.values():
            database.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", points(run))
    database.close()
    address = tracker.address()
    assert address is not None
    seconds: dict[str, float] = {}
    with dashboard(uri, tmp_path / "log") as server:
        page = browser.new_context(viewport=SCREEN).new_page()  # type: ignore[arg-type]
        watch(page)
        page.goto(page_at(server.address, address))
        link = page.get_by_role("link", name="all trials by eval NLL")
        where = link.get_attribute("href", timeout=WAIT_MS)

        began = time.perf_counter()
        table = page.context.new_page()
        watch(table)
        table.goto(f"{server.address}/{where}")
        expect(top(table)).to_be_visible(timeout=WAIT_MS)
        seconds["table_s"] = time.perf_counter() - began
        best = top(table).inner_text()
        values = [float(text) for text in in_order(table, "metrics.`eval/nll`") if text != "-"]
        assert values == sorted(values)
        shot(table, shots, "mlflow-200-trials")

        began = time.perf_counter()
        header(table, "eval/nll").click()
        expect(top(table)).not_to_have_text(best, timeout=WAIT_MS)
        seconds["sort_s"] = time.perf_counter() - began

        began = time.perf_counter()
        table.goto(f"{server.address}/#/experiments/1/runs/{runs[0]}/model-metrics")
        scroll_to_charts(table, "loss", WAIT_MS)
        expect(table.get_by_text("ema_90", exact=True)).to_be_visible(timeout=WAIT_MS)
        line = table.locator(".js-plotly-plot .scatterlayer path.js-line").first
        expect(line).to_be_attached(timeout=WAIT_MS)
        seconds["charts_s"] = time.perf_counter() - began
        shot(table, shots, "mlflow-2000-points")
        processes = psutil.Process(server.pid).children(recursive=True)
        memory = sum(p.memory_info().rss for p in (*processes, psutil.Process(server.pid)))
    figures = {"trials": TRIALS, "points": POINTS, **{k: round(v, 1) for k, v in seconds.items()}}
    with capsys.disabled():
        print("\n" + json.dumps({**figures, "server_mib": round(memory / 2**20)}))
