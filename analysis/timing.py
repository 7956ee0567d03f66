"""Where the time of a search went, by slot.

The ledger does not say on which slot a trial ran. It says when each trial was taken up and when it ended, and
a slot works on one trial at a time, so trials are laid into as few lanes as can hold them (interval
partitioning: each goes to the lane that has been free the longest). Lanes are slots up to their names.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from analysis.records import Interval, SearchRecord, TrialRecord


@dataclass(frozen=True)
class Spent:
    """Seconds by what they were spent on."""

    start: float = 0.0
    """Until the workers take a trial up, and until its weights and engine are there."""
    train: float = 0.0
    """Its data and its optimizer steps."""
    evaluate: float = 0.0
    other: float = 0.0
    """Checkpoints, kept weights, waiting, and what a restart had to repeat."""
    idle: float = 0.0
    """No trial on the slot while the search ran."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.start + self.train + self.evaluate + self.other + self.idle


@dataclass(frozen=True)
class Block:
    """One attempt at a trial, on the clock of the search, which stands still between its commands."""

    trial: TrialRecord
    lane: int
    begin_s: float
    end_s: float
    spent: Spent


@dataclass(frozen=True)
class Timing:
    """Where the time went."""

    blocks: tuple[Block, ...]
    lanes: tuple[Spent, ...]
    total: Spent
    wall_s: float


def timing(search: SearchRecord) -> Timing:
    """Lay the trials of a search into lanes and add up what each lane spent."""
    attempts = sorted(
        (
            (attempt, part, trial)
            for trial in search.trials
            for attempt, part in zip(trial.attempts, by_attempt(trial), strict=True)
        ),
        key=lambda one: (one[0].start, one[2].number),
    )
    blocks, free = [], list[float]()
    for attempt, part, trial in attempts:
        told, end = _clock(search.commands, attempt.start), _clock(search.commands, attempt.end)
        fitting = [lane for lane, since in enumerate(free) if since <= told]
        lane = min(fitting, key=lambda one: free[one]) if fitting else len(free)
        # A slot goes on before the end of its last trial is written down, which takes a moment.
        begin = max(_clock(search.commands, attempt.start - attempt.ahead_s), *free[lane : lane + 1], 0.0)
        free[lane : lane + 1] = [end]
        blocks.append(Block(trial, lane, begin, end, _at_most(part, end - begin)))
    lanes = []
    for lane in range(len(free)):
        busy = _sum([block.spent for block in blocks if block.lane == lane])
        lanes.append(_sum([busy, Spent(idle=max(0.0, search.wall_s - busy.total))]))
    return Timing(tuple(blocks), tuple(lanes), _sum(lanes), search.wall_s)


def by_attempt(trial: TrialRecord) -> list[Spent]:
    """Say what each attempt at a trial spent its time on.

    That is known for the trial as a whole, and shared out in proportion to how long each attempt took. No
    attempt gets more than that: what is known of one that still runs may not fit yet, and shrinks as one.
    """
    known, took = _known(trial), sum(attempt.seconds for attempt in trial.attempts)
    longest = max(known.total, took)
    shares = [attempt.seconds / longest if longest > 0 else 0.0 for attempt in trial.attempts]
    return [
        Spent(
            start=share * known.start,
            train=share * known.train,
            evaluate=share * known.evaluate,
            other=share * (longest - known.start - known.train - known.evaluate),
        )
        for share in shares
    ]


def _known(trial: TrialRecord) -> Spent:
    """Return what a trial says of itself, all attempts together."""
    times = trial.times
    if times is None:  # an old ledger, which knows the start-up of the last attempt
        evaluate = sum(one.evaluation.seconds for one in trial.evals)
        return Spent(trial.start_overhead_s, trial.train_s, evaluate)
    return Spent(
        start=times.start_s + times.weights_s,
        train=times.data_s + times.forward_s + times.backward_s + times.step_s,
        evaluate=times.evaluate_s,
        other=times.checkpoint_s + times.tracking_s + times.other_s,
    )


def _clock(commands: Sequence[Interval], time: float) -> float:
    """Return how long the search had run at that time, its pauses left out."""
    return sum(min(max(time - command.start, 0.0), command.seconds) for command in commands)


def _at_most(part: Spent, seconds: float) -> Spent:
    """Shrink what was spent to so many seconds, its parts alike."""
    share = min(1.0, seconds / part.total) if part.total > 0 else 1.0
    return Spent(*(share * getattr(part, one.name) for one in fields(Spent)))


def _sum(parts: Sequence[Spent]) -> Spent:
    return Spent(
        sum(part.start for part in parts),
        sum(part.train for part in parts),
        sum(part.evaluate for part in parts),
        sum(part.other for part in parts),
        sum(part.idle for part in parts),
    )
