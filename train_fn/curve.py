"""The statistics of one training curve, step by step at a constant cost.

The same code judges a live run and a recorded one. Losses that are not finite are counted and never enter an
average. What is kept is bounded, JSON-able, and gives the same figures after a restart.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from statistics import median
from typing import Any, Self

from train_fn.history import Block, History
from train_fn.level import Average
from train_fn.scaler import ScalerWatch

FAST, SLOW = 0.9, 0.98
SPREAD_STEPS = 64
"""Residuals behind the spread."""
SPIKE_SIGMAS = 7.0
"""Flags 0 or 1 of 500 points of healthy recorded runs, 31 to 42 of diverging ones."""
MIN_RESIDUALS = 16
"""No spike is called before this many residuals are known."""
RECENT_NORMS = 8
RECENT_LOSSES = 64
STEP_NOISE = 0.19
"""Relative standard deviation of the loss of a step of one sequence; of a batch, divided by the square root
of its size. Measured on recorded sweeps."""
SURE_SDS = 2.5
"""A smoothed loss lies so many of its own standard deviations too low at most."""
MAD_TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation, for a normal distribution (Huber 1981)."""


def smooth(values: Sequence[float], factor: float) -> list[float]:
    """Return the debiased exponential moving average of `values`: a constant comes out as itself.

    m_t = factor * m_(t-1) + (1 - factor) * x_t, divided by 1 - factor^t (Kingma and Ba 2015, arXiv:1412.6980,
    section 3). Where a value is not finite the average stays as it was (NaN before the first finite one).
    """
    assert 0 <= factor < 1
    average, result = Average(factor), []
    for value in values:
        if math.isfinite(value):
            average.add(value)
        result.append(average.value if average.weight else math.nan)
    return result


def _spread_of(residuals: Sequence[float]) -> float:
    middle = median(residuals)
    return MAD_TO_SIGMA * median(abs(r - middle) for r in residuals)


@dataclass(frozen=True)
class CurveSummary:
    """The figures of a curve so far. Losses are in nats; a figure of nothing is NaN."""

    steps: int
    tokens_seen: int
    ema_90: float
    """Loss smoothed by a factor of 0.9, debiased."""
    ema_98: float
    spread: float
    """Standard deviation of one step's loss around the smoothed one, from the median absolute deviation."""
    first_loss: float
    best_level: float
    """Lowest `ema_90` so far."""
    sure_level: float
    """What the trial has surely come down to: the lowest of `ema_90` plus `SURE_SDS` of its deviations."""
    sure_noise: float
    """Standard deviation of a step's loss when that was reached, relative to the loss."""
    tokens_since_best: int
    spikes: int
    """Steps more than `SPIKE_SIGMAS` spreads above the smoothed loss."""
    spike_score: float
    """Share of the finite steps that are spikes."""
    trend: str
    """`falling, p < 0.01`, `flat` or `rising, p < 0.01`, over the later half of the steps."""
    slope_per_token: float
    """Theil-Sen slope over the later half, in nats per token."""
    overflow_steps: int
    overflow_rate: float
    """Over the last `train_fn.scaler.RECENT_STEPS` steps."""
    overflow_rate_since_start: float
    overflows_in_a_row: int
    searching: bool
    """The scaler still looks for its first scale."""
    settled_steps: int
    """Recent steps that came after the scaler's first search."""
    settled_overflows: int
    """Overflows among `settled_steps`."""
    loss_scale: float
    """Of the last step; 0 when the precision has none."""
    scale_change_log2: float
    """How far log2 of the loss scale moved over `settled_steps`."""
    scale_floor: float
    """Lowest loss scale so far."""
    raised_after_steps: int
    """Steps without an overflow after which the scale rose: the scaler's window; 0 if not seen."""
    nonfinite_steps: int
    """Steps with a loss that is not finite, or such a gradient that the scaler did not skip."""
    nonfinite_in_a_row: int
    grad_norm_ratio: float
    """Median of the last `RECENT_NORMS` gradient norms over the median of the whole curve."""


@dataclass
class Curve:
    """The history of one trial, bounded."""

    expected_noise: float = STEP_NOISE
    """Relative standard deviation of a step's loss, believed as far as `MIN_RESIDUALS` residuals would be."""
    steps: int = 0
    tokens_seen: int = 0
    finite_steps: int = 0
    first_loss: float = 0.0
    best_level: float = 0.0
    best_tokens: int = 0
    sure_level: float | None = None
    """None before the first loss, and at first in a checkpoint of an earlier version."""
    sure_noise: float = 0.0
    spikes: int = 0
    nonfinite_steps: int = 0
    nonfinite_in_a_row: int = 0
    fast: Average = field(default_factory=lambda: Average(FAST))
    slow: Average = field(default_factory=lambda: Average(SLOW))
    residuals: list[float] = field(default_factory=list)
    """Of the last `SPREAD_STEPS` finite losses to the smoothed loss before them."""
    recent: list[tuple[int, float]] = field(default_factory=list)
    """Tokens seen and loss of the last `RECENT_LOSSES`; one that is not finite is higher than any other."""
    norms: list[float] = field(default_factory=list)
    """The last `RECENT_NORMS` gradient norms."""
    scaler: ScalerWatch = field(default_factory=ScalerWatch)
    history: History = field(default_factory=History)

    @classmethod
    def fresh(cls, batch_size: int = 1) -> Self:
        """Return the curve of a trial that has not begun.

        Args:
            batch_size: Sequences of a step, which decide how noisy its first losses are taken to be; 1 trusts
                them least.
        """
        return cls(expected_noise=STEP_NOISE / math.sqrt(batch_size))

    def add(
        self, tokens_seen: int, loss: float, grad_norm: float, loss_scale: float, overflowed: bool
    ) -> None:
        """Add one optimizer step.

        Args:
            tokens_seen: Of the trial, this step included; rises with every step.
            loss: Nats per token; may be non-finite.
            grad_norm: Before clipping; unknown when it is not finite or not above 0.
            loss_scale: The step was taken with; 0.0 when the precision has none.
            overflowed: The step was skipped, because its gradients left the range of the precision.
        """
        assert tokens_seen > self.tokens_seen, (tokens_seen, self.tokens_seen)
        self.steps += 1
        self.tokens_seen = tokens_seen
        self.scaler.add(loss_scale, overflowed)
        lost = not math.isfinite(loss) or not (overflowed or math.isfinite(grad_norm))
        self.nonfinite_steps += lost
        self.nonfinite_in_a_row = self.nonfinite_in_a_row + 1 if lost else 0
        norm = grad_norm if math.isfinite(grad_norm) and grad_norm > 0 else None
        if norm is not None:
            self.norms = [*self.norms, norm][-RECENT_NORMS:]
        if math.isfinite(loss) or not loss_scale:  # what overflows in fp16 is left to the scaler
            height = loss if math.isfinite(loss) else sys.float_info.max
            self.recent = [*self.recent, (tokens_seen, height)][-RECENT_LOSSES:]
        if math.isfinite(loss):
            self._add_loss(loss)
            log_norm = None if norm is None else math.log(norm)
            self.history.add(tokens_seen, loss, self.fast.value, log_norm)

    def _add_loss(self, loss: float) -> None:
        if self.finite_steps == 0:
            self.first_loss = loss
        else:
            residual = loss - self.fast.value
            if len(self.residuals) >= MIN_RESIDUALS:
                floor = 1e-3 * abs(self.fast.value)  # rounding on a constant curve is no spike
                self.spikes += residual > SPIKE_SIGMAS * max(self._spread(), floor)
            self.residuals = [*self.residuals, residual][-SPREAD_STEPS:]
        self.finite_steps += 1
        self.fast.add(loss)
        self.slow.add(loss)
        if self.finite_steps == 1 or self.fast.value < self.best_level:
            self.best_level, self.best_tokens = self.fast.value, self.tokens_seen
        noise = self._noise()
        sure = self.fast.value * (1 + SURE_SDS * noise * self.fast.deviation())
        if self.sure_level is None or sure < self.sure_level:
            self.sure_level, self.sure_noise = sure, noise

    def _noise(self) -> float:
        """Return the relative standard deviation of a step's loss: what was seen, and what was expected."""
        seen = self._spread() / self.fast.value if self.residuals and self.fast.value > 0 else 0.0
        known = len(self.residuals)
        squares = MIN_RESIDUALS * self.expected_noise**2 + known * seen**2
        return min(1.0, math.sqrt(squares / (MIN_RESIDUALS + known)))

    def _spread(self) -> float:
        return _spread_of(self.residuals)

    def _grad_norm_ratio(self) -> float:
        all_norms = self.history.log_norms()
        if len(all_norms) < 3 * RECENT_NORMS:
            return math.nan
        return math.exp(min(math.log(median(self.norms)) - median(all_norms), 700.0))

    def sustained_above(self, level: float) -> tuple[int, int]:
        """Return for how many `(steps, tokens)` the smoothed loss (EMA 0.9) has now stayed above `level`.

        Rounded down to blocks, each of which holds at most a 64th of the curve; the tokens count from the
        first such step to the last. A spike that has come back is none, however long it holds the EMA up.
        """
        return self.history.sustained_above(level)

    def tokens_since_finite(self) -> int:
        """Return the tokens since the last finite loss."""
        return self.tokens_seen - (self.history.blocks[-1].last_tokens if self.history.blocks else 0)

    def summary(self) -> CurveSummary:
        """Return the figures so far."""
        scaler, direction = self.scaler, self.history.trend()
        some = self.finite_steps > 0
        return CurveSummary(
            steps=self.steps,
            tokens_seen=self.tokens_seen,
            ema_90=self.fast.value if some else math.nan,
            ema_98=self.slow.value if some else math.nan,
            spread=self._spread() if self.residuals else math.nan,
            first_loss=self.first_loss if some else math.nan,
            best_level=self.best_level if some else math.nan,
            sure_level=math.nan if self.sure_level is None else self.sure_level,
            sure_noise=self.sure_noise if some else math.nan,
            tokens_since_best=self.tokens_seen - self.best_tokens,
            spikes=self.spikes,
            spike_score=self.spikes / max(1, self.finite_steps),
            trend=str(direction),
            slope_per_token=direction.slope,
            overflow_steps=scaler.overflow_steps,
            overflow_rate=sum(scaler.overflowed) / max(1, len(scaler.overflowed)),
            overflow_rate_since_start=scaler.overflow_steps / max(1, self.steps),
            overflows_in_a_row=scaler.in_a_row,
            searching=scaler.settled_at == 0,
            settled_steps=scaler.settled_steps,
            settled_overflows=scaler.settled_overflows,
            loss_scale=scaler.scales[-1] if scaler.scales else 0.0,
            scale_change_log2=scaler.change_log2,
            scale_floor=scaler.floor,
            raised_after_steps=scaler.raised_after_steps,
            nonfinite_steps=self.nonfinite_steps,
            nonfinite_in_a_row=self.nonfinite_in_a_row,
            grad_norm_ratio=self._grad_norm_ratio(),
        )

    def state(self) -> dict[str, object]:
        """Return everything as JSON-able values, none of them NaN or infinite."""
        state = asdict(self)
        history = self.history
        state["history"] = {"blocks": [asdict(b) for b in history.blocks], "block_steps": history.block_steps}
        return state

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Self:
        """Return the curve that `state` was taken of."""
        history = state["history"]
        known = {one.name for one in fields(Block)}  # checkpoints from before hold more of a block
        blocks = [Block(**{name: b[name] for name in b if name in known}) for b in history["blocks"]]
        parts = {
            "fast": Average(**state["fast"]),
            "slow": Average(**state["slow"]),
            "scaler": ScalerWatch(**state["scaler"]),
            "history": History(blocks, history["block_steps"]),
            "recent": [(tokens, loss) for tokens, loss in state.get("recent", ())],
        }
        return cls(**{**state, **parts})
