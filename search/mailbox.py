"""The desk between a slot and its training workers.

The slot (a Tune trainable) and the workers (a Ray Train run that outlives trials) never call each other: both
talk to this small actor. A report with an evaluation is answered only after the halving has judged it, so a
stopped trial trains not one step past its rung and a search with one slot is deterministic.

What goes wrong in a worker group is gathered until the group is over, because the first word is often not the
one that explains the rest: the death of one rank makes the collectives of the others fail.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from search.faults import (
    MAX_GROUPS,
    Cause,
    Fault,
    Retry,
    cause_of_loss,
    departure_told,
    died_early,
    explaining,
    fault_of,
    gave_up,
    is_final,
    remedy,
)
from search.processes import oom_kills
from search.watch import Hang, Watched, hang_told, watched
from train_fn.assignment import Assignment, Failure, Message, Refusal
from train_fn.checkpoint_files import newest_tokens
from train_fn.departure import Departure
from train_fn.heartbeat import BEAT_S, Beat
from train_fn.report import Outcome, Report

REST_S = 60.0
"""So long a worker group waits for a trial before it makes room for groups that have one."""


class Mailbox:
    """Async actor state; every method may be called by any process of the slot.

    Args:
        machine_gone: Tells whether one of the machines with these ids has left the cluster.
        whole_gpus: Whether each rank has GPUs, and for itself.
    """

    def __init__(
        self, machine_gone: Callable[[Collection[str]], bool] = lambda nodes: False, whole_gpus: bool = False
    ) -> None:
        self._machine_gone, self._whole_gpus = machine_gone, whole_gpus
        self._changed = asyncio.Condition()
        self._assignment: Assignment | None = None
        self._over = True
        self._closed = False
        self._messages: list[tuple[Message | Retry, asyncio.Future[bool] | None]] = []
        self._waiting: asyncio.Future[bool] | None = None
        self._faults: list[Fault] = []
        """What ended each attempt at the trial so far."""
        self._taken = False
        """Whether the worker group has taken the trial up."""
        self._untaken = 0
        """Worker groups in a row that ended without."""
        self._evidence: list[Fault] = []
        """What went wrong in the worker group; it gets no trial any more."""
        self._spoke: set[int] = set()
        """Ranks that said themselves why they end."""
        self._ranks: dict[int, Watched] = {}
        self._present = True
        """Whether there is a group; the beats of one that was sent home or is over count no more."""
        self._hang_seen = False
        self._departure: Departure | None = None
        """Of a machine of the worker group, which will be taken down with it."""
        self._idle_since = time.monotonic()
        self._oom_kills = 0

    async def submit(self, assignment: Assignment) -> None:
        """Make this the slot's trial; whoever still reports for another one is stale."""
        async with self._changed:
            self._release(False)
            self._messages.clear()
            self._faults.clear()
            self._assignment, self._over, self._taken = assignment, False, False
            self._changed.notify_all()

    async def join(self) -> None:
        """Begin with a new worker group: whatever the one before left undone ended with it."""
        await self.lost({})
        self._present, self._idle_since = True, time.monotonic()

    async def next_trial(self, wait_s: float) -> Assignment | Literal["wait", "close"]:
        """Return the slot's trial if it still needs work; else wait for one at most `wait_s` seconds.

        The same unfinished trial is given to a new worker group, changed as the last fault asks for. A group
        that has waited for `REST_S` is sent home: a slot whose machine was taken away may need the room.
        """
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(self._has_news), wait_s)
            except TimeoutError:
                if not self._over or time.monotonic() - self._idle_since < REST_S:
                    return "wait"
                self._present = False
                self._ranks.clear()
                return "close"
            if self._closed:
                return "close"
            assert self._assignment is not None
            self._taken, self._oom_kills, self._untaken = True, oom_kills(), 0
            return self._assignment

    async def report(self, ticket: int, message: Message) -> bool:
        """Deliver a worker's message; False means the trial was stopped: drop it."""
        async with self._changed:
            if isinstance(message, Departure):
                self._departure = message
                return not self._is_stale(ticket)
            if isinstance(message, Failure):
                self._evidence.append(fault_of(message))
                self._spoke.add(message.rank)
                return not self._is_stale(ticket)
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

    async def take(self) -> Message | Retry:
        """Return the next message to the slot; the one taken before has then been judged."""
        async with self._changed:
            self._release(True)
            await self._changed.wait_for(lambda: bool(self._messages))
            message, self._waiting = self._messages.pop(0)
            return message

    async def beat(self, beat: Beat) -> None:
        """Take note of a rank's sign of life."""
        if self._present:
            self._ranks[beat.rank] = watched(self._ranks.get(beat.rank), beat, time.monotonic())

    async def hang(self) -> Hang | None:
        """Return the worker group when it hangs while there is a trial, once; None when the slot closes.

        A trial that was not taken up counts too: the rank that would ask for it may be the one that hangs.
        """
        while not self._closed:
            await asyncio.sleep(BEAT_S / 2)
            if self._over or self._hang_seen or self._departure or self._assignment is None:
                continue  # nobody waits for the group, or Ray itself is about to end it
            limit_s = self._assignment.config.run.hang_timeout_s
            told = hang_told(self._ranks, time.monotonic(), limit_s)
            if told:
                self._hang_seen = True
                cause: Cause = "hang"
                if self._machine_gone([one.beat.node for one in self._ranks.values()]):
                    cause, told = "lost", "a machine of its worker group is gone"
                self._evidence.append(self._fault_from_outside(cause, told))
                return Hang(tuple(one.beat for one in self._ranks.values()), self._assignment.workspace)
        return None

    async def lost(self, deaths: Mapping[int, str]) -> None:
        """Decide about the trial of a worker group that is over.

        Args:
            deaths: What Ray says of the ranks that ended with an error.
        """
        async with self._changed:
            if not self._taken and not self._over:
                self._count_untaken(died_early(deaths))
            elif not self._over:
                assert self._assignment is not None
                if self._departure is not None:
                    kept = newest_tokens(Path(self._assignment.workspace))
                    leaving = departure_told(self._departure, kept)
                    self._evidence.insert(0, self._fault_from_outside("lost", leaving))
                killed = oom_kills() > self._oom_kills
                for rank in deaths.keys() - self._spoke:
                    cause = cause_of_loss(deaths[rank], killed)
                    self._evidence.append(self._fault_from_outside(cause, f"rank {rank} died ({cause})"))
                # Ray Train takes a group without an error down when its machines are about to be taken away.
                unseen = self._fault_from_outside("lost", "its worker group was taken down")
                self._decide(explaining(self._evidence or [unseen]))
            self._taken, self._hang_seen, self._departure = False, False, None
            self._present = False
            self._evidence.clear()
            self._spoke.clear()
            self._ranks.clear()
            self._changed.notify_all()

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

    async def awaits_group(self) -> bool:
        """Wait until there is a trial to train; False when the slot closes."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or not self._over)
            return not self._closed

    async def is_closed(self) -> bool:
        """Tell whether the slot ends: a trial that is not over then will go on elsewhere."""
        return self._closed

    def _has_news(self) -> bool:
        return self._closed or not (self._over or self._evidence)

    def _is_stale(self, ticket: int) -> bool:
        return self._over or self._assignment is None or ticket != self._assignment.ticket

    def _fault_from_outside(self, cause: Cause, told: str) -> Fault:
        """Place what a rank did not say itself by the last beats."""
        beats = [one.beat for one in self._ranks.values()]
        latest = max(beats, key=lambda beat: beat.steps, default=None)
        return Fault(cause, told, latest.steps if latest else 0, latest.place if latest else None)

    def _count_untaken(self, why: str) -> None:
        """Give up a trial for which no worker group comes: one after the other ends before it takes it up."""
        self._untaken += bool(why)
        if self._untaken == MAX_GROUPS:
            assert self._assignment is not None
            self._untaken = 0
            told = f"the worker group of the slot ended: {why}, for the {MAX_GROUPS}th time"
            self._end(_failed(self._assignment.trial, told))

    def _decide(self, fault: Fault) -> None:
        """Try the trial again or give it up."""
        assert self._assignment is not None
        before = self._assignment
        self._faults.append(fault)
        found = remedy(before, self._faults)
        if found is None:
            self._end(_failed(before.trial, gave_up(self._faults), is_final(self._faults, self._whole_gpus)))
            return
        again, done = found
        self._assignment = replace(again, assigned_at=time.time())
        place = again.skip[-1] if again.skip != before.skip else None
        examples = 0 if place is None else before.config.optim.effective_batch_size
        told = f"{fault.told}; {done}"
        self._messages.append((Retry(before.trial, fault.cause, told, examples, place), None))

    def _end(self, last: Outcome | Refusal) -> None:
        self._over, self._idle_since = True, time.monotonic()
        self._messages.append((last, None))
        self._changed.notify_all()

    def _release(self, alive: bool) -> None:
        """Answer the worker that waits for the judgement of its last evaluation."""
        for future in [self._waiting] + ([] if alive else [f for _, f in self._messages]):
            if future is not None and not future.done():
                future.set_result(alive)
        self._waiting = None


def _failed(trial: int, reason: str, final: bool = False) -> Outcome:
    return Outcome(trial, "failed", reason, 0, 0, 0, None, None, 0.0, 0.0, None, final)
