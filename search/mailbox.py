"""The desk between a slot and its training workers.

The slot (a Tune trainable) and the workers (a Ray Train run that outlives trials) never call each other: both
talk to this small actor. A report with an evaluation is answered only after the halving has judged it, so a
stopped trial trains not one step past its rung and a search with one slot is deterministic.
"""

import asyncio
from typing import Literal

from train_fn.assignment import Assignment, Message, Refusal
from train_fn.report import Outcome, Report


class Mailbox:
    """Async actor state; every method may be called by any process of the slot.

    Args:
        max_attempts: How often a trial may be taken up before it is given up as failed. The first attempt
            counts; each worker group that died with the trial makes another one.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts
        self._changed = asyncio.Condition()
        self._assignment: Assignment | None = None
        self._attempts = 0
        self._over = True
        self._closed = False
        self._messages: list[tuple[Message, asyncio.Future[bool] | None]] = []
        self._waiting: asyncio.Future[bool] | None = None

    async def submit(self, assignment: Assignment) -> None:
        """Make this the slot's trial; whoever still reports for another one is stale."""
        async with self._changed:
            self._release(False)
            self._messages.clear()
            self._assignment, self._attempts, self._over = assignment, 0, False
            self._changed.notify_all()

    async def next_trial(self, wait_s: float) -> Assignment | Literal["wait", "close"]:
        """Return the slot's trial if it still needs work; else wait for one at most `wait_s` seconds.

        The same unfinished trial is given out again to a restarted worker group, up to `max_attempts` times.
        """
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: self._closed or not self._over), wait_s)
            except TimeoutError:
                return "wait"
            if self._closed:
                return "close"
            assert self._assignment is not None
            self._attempts += 1
            if self._attempts > self._max_attempts:
                self._end(_gave_up(self._assignment.trial, self._attempts - 1))
                return "wait"
            return self._assignment

    async def report(self, ticket: int, message: Message) -> bool:
        """Deliver a worker's message; False means the trial was stopped: drop it."""
        async with self._changed:
            if self._is_stale(ticket):
                return False
            if isinstance(message, Outcome | Refusal):
                self._end(message)
                return True
            judged = isinstance(message, Report) and message.eval is not None
            answer = asyncio.get_running_loop().create_future() if judged else None
            self._messages.append((message, answer))
            self._changed.notify_all()
        return True if answer is None else await answer

    async def take(self) -> Message:
        """Return the next message to the slot; the one taken before has then been judged."""
        async with self._changed:
            self._release(True)
            await self._changed.wait_for(lambda: bool(self._messages))
            message, self._waiting = self._messages.pop(0)
            return message

    async def fail(self, reason: str) -> None:
        """End the trial as failed: the worker group is gone for good."""
        async with self._changed:
            if not self._over and self._assignment is not None:
                self._end(_failed(self._assignment.trial, reason))

    async def close(self) -> None:
        """Tell the workers that no trial will come."""
        async with self._changed:
            self._closed, self._over = True, True
            self._release(False)
            self._changed.notify_all()

    async def is_closed(self) -> bool:
        """Tell whether the slot ends: a trial that is not over then will go on elsewhere."""
        return self._closed

    def _is_stale(self, ticket: int) -> bool:
        return self._over or self._assignment is None or ticket != self._assignment.ticket

    def _end(self, last: Outcome | Refusal) -> None:
        self._over = True
        self._messages.append((last, None))
        self._changed.notify_all()

    def _release(self, alive: bool) -> None:
        """Answer the worker that waits for the judgement of its last evaluation."""
        for future in [self._waiting] + ([] if alive else [f for _, f in self._messages]):
            if future is not None and not future.done():
                future.set_result(alive)
        self._waiting = None


def _gave_up(trial: int, attempts: int) -> Outcome:
    return _failed(trial, f"given up after {attempts} attempts: its worker process died each time")


def _failed(trial: int, reason: str) -> Outcome:
    return Outcome(trial, "failed", reason, 0, 0, 0, None, None, 0.0, 0.0, None)
