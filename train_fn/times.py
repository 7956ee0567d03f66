"""What a trial spends its time on, in seconds: a value that every package reads."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

Part = Literal[
    "start", "weights", "data", "forward", "backward", "step", "evaluate", "checkpoint", "tracking", "other"
]
PARTS: tuple[Part, ...] = get_args(Part)
"""In the order in which they are shown: that of a trial's life."""


@dataclass(frozen=True)
class Times:
    """Seconds by part, over all attempts of a trial, on rank 0. Together they are its wall time.

    A rank that waits for another one does so in a collective, and the time counts for the part that asked
    for it: mostly `backward_s` and `step_s`. On a GPU the host runs ahead of the device; `train_fn.clock`
    says how the parts of a step are told there.
    """

    start_s: float = 0.0
    """From the slot being free for the trial until its workers take it up: of the first trial of a slot the
    start of the worker group with its libraries, of an attempt after a fault that of the next group."""
    weights_s: float = 0.0
    """Base weights read, where they are not in memory yet, copied for the trial, and the engine made."""
    data_s: float = 0.0
    """Prepared data opened, examples chosen, packed and brought to the device."""
    forward_s: float = 0.0
    backward_s: float = 0.0
    """Gradients, and what of their reduction over ranks is not hidden behind them."""
    step_s: float = 0.0
    """The optimizer: norm, clipping, update, and the wait for the device at the end of a window."""
    evaluate_s: float = 0.0
    """Held-out examples; in the first trial of a search also those of the base model."""
    checkpoint_s: float = 0.0
    """What the training thread waits for: checkpoints copied and read back, the final weights written."""
    tracking_s: float = 0.0
    """Reports handed over, and the wait for the judgement at a rung."""
    other_s: float = 0.0
    """The rest: judging curves, tearing down, and what was lost with an attempt that ended with a fault."""

    @property
    def total_s(self) -> float:
        """All of it."""
        return sum(self.of(part) for part in PARTS)

    def of(self, part: Part) -> float:
        """Return the seconds of one part."""
        seconds: float = getattr(self, f"{part}_s")
        return seconds


def closed(times: Times, wall_s: float) -> Times:
    """Return the times with what they lack of the wall time counted as `other`.

    A trial cannot say itself what it lost between its last checkpoint and a fault. Who knows when it was
    taken up and when it ended can.

    Args:
        times: As the trial measured them.
        wall_s: Of all its attempts.
    """
    return replace(times, other_s=times.other_s + max(0.0, wall_s - times.total_s))


def added(some: Iterable[Times]) -> Times:
    """Return the sums, part by part."""
    rows = list(some)
    return Times(**{f"{part}_s": sum(times.of(part) for times in rows) for part in PARTS})
