"""What a trial says while it runs and when it ends.

Both values cross the border from `train_fn` to `search`. A report never holds a non-finite number: the
constructor refuses it, so nothing downstream (Optuna, halving, the choice of the best) has to defend itself.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal

from train_fn.times import Times

Status = Literal["finished", "halved", "diverged", "overflowing", "failed", "cancelled"]
DOOMED: tuple[Status, ...] = ("diverged", "overflowing")
"""How the doom rules end a trial."""


@dataclass(frozen=True)
class Point:
    """One optimizer step on the curve."""

    tokens_seen: int
    loss: float
    ema_90: float
    ema_98: float


@dataclass(frozen=True)
class Evaluation:
    """Response NLL on the fixed held-out examples.

    `example_nll` holds the mean NLL per answer token of each held-out example, in their fixed order, so that
    two trials can be compared in pairs.
    """

    nll: float
    """Sum of token NLL over all answer tokens, divided by their number; nats."""
    stderr: float
    """Standard error of `nll` over conversations (ratio estimator)."""
    example_nll: tuple[float, ...]
    example_tokens: tuple[int, ...]
    seconds: float
    example_conversations: tuple[int, ...] = ()
    """A number for the conversation of each example. Ledgers from before lack it: each counts as its own."""


@dataclass(frozen=True)
class Report:
    """The figures of one window of optimizer steps.

    Raises:
        ValueError: A figure is not finite.
    """

    trial: int
    tokens_seen: int
    steps: int
    """Optimizer steps since the trial began, skipped ones included."""
    window_steps: int
    loss: float
    """Mean of the window's finite step losses."""
    points: tuple[Point, ...]
    """The window's steps, thinned to at most `MAX_POINTS` and never losing the largest loss."""
    lr: float
    grad_norm: float
    loss_scale: float
    """0 when the precision has none."""
    overflow_steps: int
    """Skipped steps since the trial began."""
    window_overflow_rate: float
    spikes: int
    """Spikes since the trial began."""
    trend: str
    tokens_per_s: float
    train_s: float
    start_overhead_s: float
    eval: Evaluation | None
    nonfinite_examples: int = 0
    """Examples left out since the trial began, because they alone make a gradient non-finite. Ledgers from
    before lack it."""
    times: Times | None = None
    """Since the trial began, the handing over of this report not included. Ledgers from before lack it."""

    def __post_init__(self) -> None:
        numbers = [(f.name, getattr(self, f.name)) for f in fields(self)]
        numbers += [("points", x) for p in self.points for x in (p.loss, p.ema_90, p.ema_98)]
        if self.eval is not None:
            numbers += [("eval.nll", self.eval.nll), ("eval.stderr", self.eval.stderr)]
            numbers += [("eval.example_nll", x) for x in self.eval.example_nll]
        for name, value in numbers:
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"report of trial {self.trial}: {name} = {value} is not finite")


MAX_POINTS = 32


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and why, in a sentence that a person understands."""

    trial: int
    status: Status
    reason: str
    tokens_seen: int
    steps: int
    overflow_steps: int
    eval_nll: float | None
    """Of the last evaluation; None if there was none."""
    eval_nll_stderr: float | None
    train_s: float
    start_overhead_s: float
    checkpoint: str | None
    """Folder with the weights that `transformers` loads; None when none were kept."""
    final: bool = False
    """Whether it failed in a way in which the same values always fail. Ledgers from before lack it."""
    times: Times | None = None
    """Since the trial began. Ledgers from before lack it."""
