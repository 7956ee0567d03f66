"""When a running trial is saved, and what becomes of it: decided at window borders, the same on all ranks."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed

from train_fn import checkpoint
from train_fn.checkpoint_interval import interval_s, is_due
from train_fn.checkpoint_writer import POLL_S, CheckpointWriter
from train_fn.config import RunConfig
from train_fn.departure import Departure, is_save_due
from train_fn.engine import Engine
from train_fn.errors import InputError
from train_fn.ranks import from_all_ranks, from_rank_0


class Saver:
    """Takes the checkpoints of one trial. Every rank has one and calls it at the same places.

    Args:
        engine: Of the trial.
        workspace: The trial's folder, the same on all ranks.
        run: How much work may be lost.
    """

    def __init__(self, engine: Engine, workspace: Path, run: RunConfig) -> None:
        self._engine, self._workspace, self._run = engine, workspace, run
        self._writer = CheckpointWriter(workspace, distributed.get_rank(), distributed.get_world_size())
        engine.may_update = self._writer.copied
        self._writing = False
        self._held_s: float | None = None
        self._waited_s = 0.0
        self._saved_for_departure = False
        self._saved_at = self._border_at = time.monotonic()

    def at_border(
        self,
        must: bool,
        tokens_seen: int,
        progress: Callable[[], dict[str, Any]],
        departure: Departure | None,
    ) -> None:
        """Save the trial if it is due at this window border; no number of the trial depends on it.

        Args:
            must: Save in any case, and wait for the checkpoint before if it is still being written.
            tokens_seen: Of the trial.
            progress: Returns what else must be kept, JSON-able; rank 0's is.
            departure: Of a machine, once one is announced, the same on all ranks: what is saved for it is
                also waited for.

        Raises:
            InputError: The checkpoint before could not be written. The ones that are complete stay.
        """
        now = time.monotonic()
        window_s, self._border_at = now - self._border_at, now
        leaving = departure is not None and from_rank_0(self._is_last_chance(departure, window_s))
        self._follow(wait=must or leaving)
        if must or leaving or (not self._writing and from_rank_0(self._is_due(now, window_s))):
            self._save(tokens_seen, progress())
        if leaving:
            self._saved_for_departure = True
            self._follow(wait=True)

    def wait(self) -> None:
        """Wait until nothing is being written.

        Raises:
            InputError: The checkpoint could not be written.
        """
        self._follow(wait=True)

    def discard(self) -> None:
        """Give up what this rank is writing."""
        self._writer.discard()

    def _is_due(self, now: float, window_s: float) -> bool:
        run = self._run
        interval = interval_s(
            self._stall_s(), self._writer.write_s, 3600 * run.mtbf_hours, 60 * run.max_lost_minutes
        )
        return is_due(now - self._saved_at, window_s, interval)

    def _is_last_chance(self, departure: Departure, window_s: float) -> bool:
        save_s = (self._stall_s() or 0.0) + self._writer.write_s
        return is_save_due(departure, time.time(), window_s, save_s, self._saved_for_departure)

    def _save(self, tokens_seen: int, progress: dict[str, Any]) -> None:
        self._saved_at = time.monotonic()
        self._waited_s = self._engine.waited_s
        self._writer.start(tokens_seen, checkpoint.state_files(self._engine, progress))
        self._held_s = time.monotonic() - self._saved_at
        self._writing = True

    def _stall_s(self) -> float | None:
        """Return for how long the last checkpoint held up the training, in seconds; None before the first."""
        return None if self._held_s is None else self._held_s + self._engine.waited_s - self._waited_s

    def _follow(self, wait: bool) -> None:
        while self._writing:
            told = from_all_ranks((self._writer.busy, self._writer.problem))
            problem = next((problem for _, problem in told if problem is not None), None)
            if problem is not None:
                raise InputError(problem)
            self._writing = any(busy for busy, _ in told)
            if not wait:
                return
            if self._writing:
                time.sleep(POLL_S)
