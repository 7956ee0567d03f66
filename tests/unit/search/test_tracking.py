import gc
import json
import logging
import re
import shutil
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from search.cursor import CURSOR_NAME, load_cursor
from search.events import Event
from search.ledger import FILE_NAME, Ledger, encode
from search.runs_table import run_address
from search.state import SearchState, replay
from search.tracking import (
    Tracker,
    pending_figures,
    state_at,
    updates_of,
)
from search.tracking_uri import ENVIRONMENT
from tests.unit.search.recorded import MAX_TOKENS, experiment, small_search
from tests.unit.search.sent import Sent, expected_figures, sent_figures
from train_fn.address import bare


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an MLflow database once: its migrations take seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def write(folder: Path, events: Iterable[Event]) -> None:
    ledger = Ledger(folder / FILE_NAME)
    for event in events:
        ledger.append(event)
    ledger.close()


def send(uri: str, folder: Path) -> Tracker:
    tracker = Tracker(uri, experiment(), folder)
    tracker.start()
    assert tracker.flush(60)
    tracker.close(10)
    return tracker


def test_a_search_arrives_as_one_parent_and_a_child_per_trial(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "exp9"
    write(folder, small_search())
    tracker = send(uri, folder)
    sent = Sent(uri)
    assert sent.names() == ["exp9", "exp9-0000", "exp9-0001", "exp9-0002", "exp9-0003"]
    parent = sent.run("exp9")
    assert parent.data.tags["mlflow.note.content"].startswith(
        "**exp9-0001 is the best: lr 0.01, eval NLL 2.5000"
    )
    assert tracker.address() == run_address(parent.info.experiment_id, parent.info.run_id)
    assert parent.info.status == "FINISHED"
    for trial, status, ours in (
        (0, "FINISHED", "finished"),
        (2, "KILLED", "halved"),
        (3, "FAILED", "diverged"),
    ):
        run = sent.run(f"exp9-{trial:04d}")
        assert (run.info.status, run.data.tags["status"]) == (status, ours)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["search.trial"] == str(trial)
        assert run.data.tags["git_commit"] == "abc123"
        assert run.info.run_id == tracker.run_ids()[trial]
    assert sent.run("exp9-0003").data.tags["reason"] == "the loss rose tenfold"
    assert sent.run("exp9-0002").data.params["optim.lr"] == "0.001"
    first = sent.run("exp9-0000").info
    assert (first.start_time, first.end_time) == (1_001_000, 1_006_000)
    assert sent_figures(sent) == expected_figures(small_search())


def test_the_description_follows_the_search_and_links_to_its_trials(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "exp9"
    events = small_search()
    write(folder, events[:5])
    send(uri, folder)
    text = Sent(uri).run("exp9").data.tags["mlflow.note.content"]
    assert text.startswith("**exp9-0000 is the best so far: lr 0.1, eval NLL 3.2000")
    write(folder, events[5:])
    tracker = send(uri, folder)
    text = Sent(uri).run("exp9").data.tags["mlflow.note.content"]
    assert re.search(rf"\[exp9-0001\]\(#/experiments/\d+/runs/{tracker.run_ids()[1]}\?", text)
    assert "the loss rose tenfold" in text


def test_the_experiment_holds_the_table_that_the_description_links_to(uri: str, tmp_path: Path) -> None:
    write(tmp_path / "exp9", small_search())
    tracker = send(uri, tmp_path / "exp9")
    sent = Sent(uri)
    experiment_tags = sent.client.get_experiment(sent.run("exp9").info.experiment_id).tags
    (view,) = (key for key in experiment_tags if key.startswith("mlflow.sharedViewState."))
    where = json.loads(json.loads(experiment_tags[view])["state"])["searchFilter"]
    text = sent.run("exp9").data.tags["mlflow.note.content"]
    assert f"viewStateShareKey={view.removeprefix('mlflow.sharedViewState.')})" in text
    found = sent.client.search_runs([sent.run("exp9").info.experiment_id], where)
    assert {run.info.run_id for run in found} == set(tracker.run_ids().values())
    assert experiment_tags["mlflow.note.content"] == "A search for tests."


def test_sending_everything_again_doubles_nothing(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "exp9"
    write(folder, small_search())
    send(uri, folder)
    before = load_cursor(folder / CURSOR_NAME, bare(uri))
    # A crash after a batch arrived and before the cursor moved; at worst the cursor is gone.
    (folder / CURSOR_NAME).unlink()
    send(uri, folder)
    sent = Sent(uri)
    assert len(sent.names()) == 5
    assert sent_figures(sent) == expected_figures(small_search())
    assert load_cursor(folder / CURSOR_NAME, bare(uri)) == before


def test_a_command_that_repeats_a_finished_search_waits_until_it_knows_whether_mlflow_still_has_it(
    uri: str, empty_database: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "exp9"
    write(folder, small_search())
    lost = send(uri, folder).run_ids()
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    tracker = Tracker(uri, experiment(), folder)
    tracker.start()
    assert tracker.flush(60)
    there = {run.info.run_id for run in Sent(uri).client.search_runs(["1"], max_results=100)}
    assert set(tracker.run_ids().values()) <= there
    assert not set(tracker.run_ids().values()) & set(lost.values())
    tracker.close(60)


def test_a_later_command_goes_on_in_the_same_runs(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "exp9"
    events = small_search()
    write(folder, events[:5])
    first = send(uri, folder)
    assert Sent(uri).run("exp9").info.status == "RUNNING"
    write(folder, events[5:])
    second = send(uri, folder)
    assert first.run_ids().items() <= second.run_ids().items()
    assert sent_figures(Sent(uri)) == expected_figures(events)


def test_a_database_that_was_lost_is_filled_again(uri: str, tmp_path: Path, empty_database: Path) -> None:
    folder = tmp_path / "exp9"
    write(folder, small_search())
    first = send(uri, folder)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    write(folder, [])
    second = send_and_wait(uri, folder)
    assert sent_figures(Sent(uri)) == expected_figures(small_search())
    assert set(first.run_ids().values()).isdisjoint(second.run_ids().values())


def send_and_wait(uri: str, folder: Path) -> Tracker:
    """Send where the old cursor already claims that all has arrived."""
    tracker = Tracker(uri, experiment(), folder)
    tracker.start()
    old = tracker.run_ids()
    deadline = time.monotonic() + 60
    while (tracker.run_ids() == old or not tracker.flush(60)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert tracker.flush(60)
    tracker.close(10)
    return tracker


def test_files_become_artifacts_of_the_search(uri: str, tmp_path: Path) -> None:
    folder = tmp_path / "exp9"
    write(folder, small_search())
    (folder / "summary.json").write_text("{}")
    tracker = Tracker(uri, experiment(), folder)
    tracker.start()
    tracker.artifact(folder / "summary.json")
    tracker.artifact(folder / "never-written.json")
    assert tracker.flush(60)
    tracker.close(10)
    assert Sent(uri).artifacts("exp9") == ["summary.json"]
    assert next((tmp_path / "mlartifacts").rglob("summary.json")).read_text() == "{}"


def test_a_server_that_is_away_delays_nothing_and_loses_nothing(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "exp9"
    events = small_search()
    write(folder, events)
    tracker = Tracker(f"http://me:secret@127.0.0.1:{port}", experiment(), folder)
    tracker.start()
    began = time.perf_counter()
    for event in events:
        tracker.listen(SearchState(), event)
    assert time.perf_counter() - began < 0.1
    with caplog.at_level(logging.WARNING):
        tracker.close(timeout_s=1.0)
    count = sum(len(update.figures) for update in updates_of(SearchState(), events, MAX_TOKENS)[0])
    assert f"lacks {count} figures; they are safe in {folder / FILE_NAME}" in caplog.text
    assert "secret" not in caplog.text
    assert tracker.run_ids() == {}
    send(uri, folder)  # the next command, here to another place
    assert sent_figures(Sent(uri)) == expected_figures(events)
    assert "secret" not in (folder / CURSOR_NAME).read_text()


def test_what_mlflow_imported_is_left_out_of_garbage_collections(uri: str, tmp_path: Path) -> None:
    write(tmp_path, small_search())
    gc.unfreeze()
    try:
        send(uri, tmp_path)
        assert gc.get_freeze_count() > 100_000
    finally:
        gc.unfreeze()


def test_pending_figures_and_state_at_an_offset(tmp_path: Path) -> None:
    events = small_search()
    write(tmp_path, events)
    offset = sum(len(encode(event)) for event in events[:6])
    assert state_at(tmp_path / FILE_NAME, offset) == replay(events[:6])
    assert state_at(tmp_path / FILE_NAME, 0) == SearchState()
    rest, _ = updates_of(replay(events[:6]), events[6:], MAX_TOKENS)
    assert pending_figures(tmp_path / FILE_NAME, offset, MAX_TOKENS) == sum(len(u.figures) for u in rest)
