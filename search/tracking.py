"""Figures on their way from the ledger to MLflow.

A thread follows the ledger and sends what it finds; how far it came stands in a small file beside it. MLflow
that is slow, away or being set up never holds up the search: nothing is lost, because the ledger keeps it.
"""

import gc
import hashlib
import logging
import threading
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from search import ledger
from search.cursor import CURSOR_NAME, Cursor, load_cursor, save_cursor
from search.events import Event
from search.figures import RunUpdate, merge, run_updates
from search.state import SearchState, apply
from spaces.experiment import Experiment
from train_fn.address import bare, without_secrets

if TYPE_CHECKING:
    from search.mlflow_runs import MlflowRuns

EVENTS_PER_BATCH = 200
POLL_S = 0.5
MAX_BACKOFF_S = 30.0
logger = logging.getLogger(__name__)


class Tracker:
    """Follow a search's ledger into MLflow from a thread of its own.

    Args:
        uri: Tracking address, from `tracking_uri.resolve`.
        experiment: What is searched.
        folder: The search's folder, which holds the ledger.
    """

    def __init__(self, uri: str, experiment: Experiment, folder: Path) -> None:
        self._uri = uri
        self._experiment = experiment
        self._ledger = folder / ledger.FILE_NAME
        self._cursor_path = folder / CURSOR_NAME
        # A database keeps no files: they go beside the searches. A server decides itself.
        self._artifact_root = None if uri.startswith("http") else folder.parent / "mlartifacts"
        self._cursor = load_cursor(self._cursor_path, bare(uri))
        self._state = SearchState()
        self._runs: MlflowRuns | None = None
        self._address: str | None = None
        self._artifacts: deque[Path] = deque()
        self._connected = self._in_trouble = False
        self._over = False
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="mlflow-tracker", daemon=True)

    def start(self) -> None:
        """Begin to follow; what an earlier command could not send goes first."""
        self._thread.start()

    def listen(self, state: SearchState, event: Event) -> None:
        """Have the event sent soon; it is read from the ledger, so this returns at once."""
        self._wake.set()

    def artifact(self, path: Path) -> None:
        """Upload a file to the search's run, in place of one with the same name; returns at once."""
        self._artifacts.append(path)
        self._wake.set()

    def run_ids(self) -> dict[int, str]:
        """Return the MLflow run of each trial that has one by now."""
        return {trial: run for trial, run in self._cursor.runs.items() if trial is not None}

    def address(self) -> str | None:
        """Return where MLflow shows the search, relative to its start page, once figures were sent."""
        return self._address

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that the ledger holds now, and every artifact, is in MLflow; tell whether it is."""
        target = self._ledger.stat().st_size if self._ledger.exists() else 0
        self._wake.set()

        def sent() -> bool:
            if target and not self._connected and not self._in_trouble:
                return False  # whether MLflow still has what an earlier command sent is not known yet
            return self._cursor.offset >= target and not self._artifacts

        with self._moved:
            self._moved.wait_for(lambda: sent() or self._over, timeout_s)
            return sent()

    def close(self, timeout_s: float) -> None:
        """Send the rest for at most `timeout_s`, say what could not be sent, and end the thread."""
        sent = self.flush(timeout_s)
        self._stop.set()
        self._wake.set()
        if sent:
            self._thread.join(timeout_s)
            return
        figures = pending_figures(self._ledger, self._cursor.offset, self._experiment.base.run.max_tokens)
        logger.warning(
            "MLflow at %s lacks %d figures; they are safe in %s and the same command sends them next time",
            bare(self._uri),
            figures,
            self._ledger,
        )

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            with self._moved:
                self._over = True
                self._moved.notify_all()

    def _follow(self) -> None:
        from search.mlflow_runs import TROUBLE  # mlflow takes seconds to import

        backoff_s = POLL_S
        while not self._stop.is_set():
            try:
                busy = self._send_next()
            except TROUBLE as error:
                self._say_trouble(error)
                self._runs = None  # connect again: run ids are checked, the server may have lost some
                self._pause(backoff_s)
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
                continue
            if self._in_trouble:
                self._in_trouble = False
                logger.warning("MLflow at %s answers again", bare(self._uri))
            backoff_s = POLL_S
            if not busy:
                self._pause(POLL_S)

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _say_trouble(self, error: Exception) -> None:
        if self._in_trouble:
            return
        with self._moved:
            self._in_trouble = True
            self._moved.notify_all()
        logger.warning(
            "MLflow at %s fails (%s); the search goes on, its figures wait on disk",
            bare(self._uri),
            without_secrets(str(error), self._uri)[:300],
        )

    def _send_next(self) -> bool:
        """Send the next events; tell whether there was anything to do.

        The cursor moves after its batch has arrived. A crash between the two sends the batch again, which
        leaves nothing twice: every figure carries the time of its event.
        """
        first = next(ledger.read_from(self._ledger, 0), None)
        if first is None:
            return False
        if self._runs is None:
            self._runs = self._connect(first[0])
        batch = list(islice(ledger.read_from(self._ledger, self._cursor.offset), EVENTS_PER_BATCH))
        if batch:
            events = [event for event, _ in batch]
            updates, state = updates_of(self._state, events, self._experiment.base.run.max_tokens)
            by_run = _by_run(updates)
            for update in by_run:
                self._runs.send(update)
            if by_run and by_run[0].trial is None:
                self._runs.describe(state)
                self._address = self._runs.address()
            self._state = state
            self._move(batch[-1][1])
        elif self._artifacts:
            if self._artifacts[0].is_file():
                self._runs.add_artifact(self._artifacts[0])
            else:
                logger.warning("%s is gone and cannot be shown in MLflow", self._artifacts[0])
            with self._moved:
                self._artifacts.popleft()
                self._moved.notify_all()
        return bool(batch or self._artifacts)

    def _connect(self, first: Event) -> "MlflowRuns":
        """Find the search's runs; where MLflow has lost them, or knows another search, begin anew."""
        from search.mlflow_database import whole_or_none
        from search.mlflow_runs import MlflowRuns

        search_id = hashlib.sha256(ledger.encode(first).encode()).hexdigest()[:16]
        if self._cursor.search_id != search_id:
            self._cursor = Cursor(bare(self._uri), search_id)
        with whole_or_none(self._uri):
            runs = MlflowRuns(self._uri, self._experiment, search_id, self._artifact_root, self._cursor.runs)
        known = None in runs.ids()
        self._address = runs.address() if known else None
        # An offset within a line is none of this ledger: what is sent again stays single.
        offset = self._cursor.offset if known and ledger.starts_line(self._ledger, self._cursor.offset) else 0
        self._state = state_at(self._ledger, offset)
        with self._moved:
            self._cursor = Cursor(bare(self._uri), search_id, offset, runs.ids())
            self._connected = True
            self._moved.notify_all()
        # What mlflow has imported stays: each full collection walked it, 0.2 s in which no thread runs.
        gc.freeze()
        return runs

    def _move(self, offset: int) -> None:
        assert self._runs is not None
        cursor = Cursor(self._cursor.uri, self._cursor.search_id, offset, self._runs.ids())
        save_cursor(self._cursor_path, cursor)
        with self._moved:
            self._cursor = cursor
            self._moved.notify_all()


def updates_of(
    state: SearchState, events: Sequence[Event], max_tokens: int
) -> tuple[list[RunUpdate], SearchState]:
    """Translate events in a row; return the updates and what is known after the last event."""
    updates: list[RunUpdate] = []
    for event in events:
        after = apply(state, event)
        updates += run_updates(state, after, event, max_tokens)
        state = after
    return updates, state


def state_at(path: Path, offset: int) -> SearchState:
    """Return what is known after the first `offset` bytes of a ledger."""
    state = SearchState()
    for event, end in ledger.read_from(path, 0):
        if end > offset:
            break
        state = apply(state, event)
    return state


def pending_figures(path: Path, offset: int, max_tokens: int) -> int:
    """Count the figures that a ledger holds beyond `offset` bytes."""
    events = [event for event, _ in ledger.read_from(path, offset)]
    updates, _ = updates_of(state_at(path, offset), events, max_tokens)
    return sum(len(update.figures) for update in updates)


def _by_run(updates: Sequence[RunUpdate]) -> list[RunUpdate]:
    """Join the updates of each run, the search's own run first: it is the parent of the others."""
    runs: dict[int | None, list[RunUpdate]] = {}
    for update in updates:
        runs.setdefault(update.trial, []).append(update)
    return [merge(some) for _, some in sorted(runs.items(), key=lambda item: item[0] is not None)]
