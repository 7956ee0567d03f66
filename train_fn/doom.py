"""Rules that end a trial which cannot be saved, judged on its own curve alone.

A rule that is wrong kills a good trial and nobody notices, so each of them waits until the trouble has
lasted. What is merely worse than its peers is left to the halving.

Measured on recorded curves (tests/unit/train_fn/test_doom.py repeats it): none of 132 TaskSet runs that end
better than chance, of 13 sound language-model runs and of 63 fine-tuning runs is ended. All of 379 TaskSet
runs that end non-finite or 30% above their start are, two evaluations after the turn, 3.9% of the run, and so
are both diverging language-model runs, after 2.2% at most. A sound DeepSpeed fp16 run with 20 overflows in
1,840 steps is left alone. Of trials trained for it (tests/bench/doom_trained.py) none of 300 sound ones is
ended, and all of 60 whose rate rises until they are lost are, in the median 0.6% after their loss is 30%
above their start for good, and 4.0% after it is above it at all.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from train_fn.errors import InputError
from train_fn.level import excess

if TYPE_CHECKING:
    from train_fn.curve import Curve, CurveSummary


@dataclass(frozen=True)
class DoomConfig:
    """Parameters of the doom rules."""

    enabled: bool = True
    min_steps: int = 5
    """Trouble must last this many optimizer steps: more than one bad batch holds up the EMA 0.9 near its
    peak."""
    patience: float = 0.02
    """... and this share of `run.max_tokens`. A doomed trial should be found within 5% of the budget, and the
    smoothing and the blocks of the curve take about as much again. Where so few steps make up the budget that
    `min_steps` are more than this share, and the smoothed loss comes late, fewer do that leave no doubt."""
    far_steps: int = 2
    """... and so many at least: one bad batch is none."""
    far_spreads: float = 2.0
    """What one loss counts at most, in spreads of a step before the rise."""
    excess: float = 4.0
    """Losses above the limit leave no doubt when they add up to so many spreads: two that are far above, or
    more that are less so. Page's cumulative sum (1954, Biometrika 41:100)."""
    alarm_steps: float = 1e6
    """... and to so many that noise alone comes there once in about as many steps. Of a sum whose terms have
    a mean of -d and a deviation of 1 that takes exp(2 d * excess) steps (Siegmund 1985, Sequential Analysis,
    chapter 2): at batch 1, where d is about 1, an excess of 7 and not 4."""
    rise: float = 0.25
    """Diverged is a loss above the lowest level that the trial has surely had by this fraction. Recorded
    fine-tuning runs that end well rose by up to 20% on their way (MetaMathQA sweep of peft). Of 546 sound
    recorded and trained runs none is ended with 0.25, one with 0.2, two with 0.15 and three with 0.1."""
    max_rise: float = 1.0
    """However noisy, a loss above the best smoothed one by this fraction is too high."""
    give_back: float = 0.5
    """... and the trial has lost this share of what it gained since its first step: from scratch, a loss that
    comes down from 11 to 3 may swing by more than `rise`."""
    norm_ratio: float = 20.0
    """Diverged is a gradient norm at this many times its median under a loss that rises: in a recorded 104B
    run the norm rose twenty-fold one log line before the loss moved."""
    nonfinite_steps: int = 3
    """Non-finite losses, or gradients that no scaler skipped, in a row; where there is no scaler, `far_steps`
    non-finite losses if these are `patience` of the budget."""
    search_steps: int = 60
    """So many first steps that all overflow: a scale of 2**32 falls to 1 in 32 steps and the hysteresis."""
    overflows_in_a_row: int = 5
    """After the first search. Sound runs overflow in pairs (hysteresis 2); a recorded doomed one halved its
    scale five times in five steps."""
    overflow_factor: float = 5.0
    """Overflowing is a rate of so many times what the scaler itself causes: hysteresis / (window +
    hysteresis), measured as 1.89% for 2 and 100."""
    min_overflows: int = 10
    """... from so many overflows on; fewer are no rate."""
    scaler_window: int = 100
    """`engine.loss_scale_window`, believed until the curve has shown the scaler's own."""
    scaler_hysteresis: int = 2
    """`engine.hysteresis`."""
    scale_fall_log2: float = 10.0
    """Overflowing is a loss scale that fell by this power of 2 within 200 steps after the first search. The
    sound DeepSpeed chat run fell by 6, from 512 to 8 in 80 steps, and came back to 4096."""
    floor: float = 1.0
    """`engine.min_loss_scale`: the scale falls no further."""
    floor_overflows: int = 3
    """Overflows within 200 steps that end a trial whose scale stands at its floor."""

    def __post_init__(self) -> None:
        whole = ("min_steps", "nonfinite_steps", "search_steps", "overflows_in_a_row", "min_overflows")
        for name in (*whole, "scaler_window", "scaler_hysteresis", "floor_overflows", "far_steps"):
            self._check(name, getattr(self, name) >= 1, "must be at least 1")
        above_0 = ("rise", "max_rise", "excess", "norm_ratio", "overflow_factor", "scale_fall_log2", "floor")
        for name in above_0:
            self._check(name, 0 < getattr(self, name) < math.inf, "must be above 0")
        self._check("alarm_steps", 1 <= self.alarm_steps < math.inf, "must be at least 1")
        for name in ("give_back", "far_spreads"):
            self._check(name, 0 <= getattr(self, name) < math.inf, "must be 0 or more")
        self._check("patience", 0 <= self.patience <= 1, "must be in [0, 1], as a share of run.max_tokens")

    def _check(self, name: str, ok: bool, rule: str) -> None:
        if not ok:
            default = getattr(DoomConfig, name)
            raise InputError(f"doom.{name} = {getattr(self, name)} {rule}; its default is {default}")


@dataclass(frozen=True)
class Verdict:
    """Why a trial is ended."""

    status: Literal["diverged", "overflowing"]
    reason: str
    """A sentence that a person understands."""


def judge(curve: "Curve", config: DoomConfig, max_tokens: int) -> Verdict | None:
    """Return why the trial cannot be saved, None while it can.

    Args:
        curve: The trial so far.
        config: The rules.
        max_tokens: What the whole trial would see; patience is a share of it.
    """
    if not config.enabled:
        return None
    summary = curve.summary()
    for status, told in _findings(curve, summary, config, max_tokens):
        return Verdict(status, f"stopped at {say_tokens(summary.tokens_seen)} tokens: {told}")
    return None


Finding = tuple[Literal["diverged", "overflowing"], str]


def _findings(
    curve: "Curve", summary: "CurveSummary", config: DoomConfig, max_tokens: int
) -> Iterator[Finding]:
    yield from _overflowing(summary, config)
    if _is_lost(curve, summary, config, max_tokens):
        yield "diverged", f"loss or gradient not finite for {summary.nonfinite_in_a_row} steps in a row"
    yield from _diverged(curve, summary, config, max_tokens)


def _overflowing(summary: "CurveSummary", config: DoomConfig) -> Iterator[Finding]:
    steps, overflows = summary.settled_steps, summary.settled_overflows
    if summary.searching:
        if summary.overflows_in_a_row >= config.search_steps:
            told = f"all of the last {summary.overflows_in_a_row} steps overflowed, no loss scale was found"
            yield "overflowing", told
        return
    share = f"{overflows / steps:.0%} of the last {steps} steps overflowed" if steps else ""
    at_floor = 0 < summary.loss_scale <= config.floor
    if at_floor and overflows >= config.floor_overflows:
        yield "overflowing", f"{share}, loss scale at its floor"
    if summary.overflows_in_a_row >= config.overflows_in_a_row:
        told = f"the last {summary.overflows_in_a_row} steps overflowed, loss scale down to"
        yield "overflowing", f"{told} {summary.loss_scale:g}"
    window = summary.raised_after_steps or config.scaler_window
    expected = config.scaler_hysteresis / (window + config.scaler_hysteresis)
    limit = min(0.5, config.overflow_factor * expected)
    if overflows >= config.min_overflows and overflows > limit * steps:
        yield "overflowing", f"{share}, where the loss scaler itself causes {expected:.1%}"
    if summary.scale_change_log2 <= -config.scale_fall_log2:
        fell = f"loss scale fell {2**-summary.scale_change_log2:,.0f}-fold within {steps} steps"
        yield "overflowing", f"{fell} to {summary.loss_scale:g}; {share}"


def _is_lost(curve: "Curve", summary: "CurveSummary", config: DoomConfig, max_tokens: int) -> bool:
    steps, patience = summary.nonfinite_in_a_row, config.patience * max_tokens
    few = steps >= config.far_steps and curve.tokens_since_finite() >= patience and summary.loss_scale == 0
    return few or steps >= config.nonfinite_steps


def _diverged(
    curve: "Curve", summary: "CurveSummary", config: DoomConfig, max_tokens: int
) -> Iterator[Finding]:
    if math.isnan(summary.ema_90):
        return
    limit = _highest_sound_level(summary, config)
    steps, tokens = curve.sustained_above(limit)
    lasted = steps >= config.min_steps and tokens >= config.patience * max_tokens
    if lasted:
        told = f"smoothed loss {summary.ema_90:.2f} after a best of {summary.best_level:.2f}"
        yield "diverged", f"{told}, above {limit:.2f} for {say_tokens(tokens)} tokens ({steps} steps)"
    spread = max(summary.sure_noise * summary.sure_level, 1e-9)
    above = excess(curve.recent, limit, spread, config.far_spreads)
    lasted = above.steps >= config.far_steps and above.tokens >= config.patience * max_tokens
    below = max((limit - summary.sure_level) / spread, 1e-9)  # where a sound loss lies, in spreads
    if lasted and above.spreads >= max(config.excess, math.log(config.alarm_steps) / (2 * below)):
        told = f"losses above {limit:.2f} for {say_tokens(above.tokens)} tokens ({above.steps} steps)"
        yield "diverged", f"{told}, after a best smoothed one of {summary.best_level:.2f}"
    loss_rises = summary.ema_90 > summary.ema_98 and not summary.trend.startswith("falling")
    if loss_rises and summary.grad_norm_ratio >= config.norm_ratio:
        yield "diverged", f"gradient norm at {summary.grad_norm_ratio:.0f} times its median, loss rising"


def _highest_sound_level(summary: "CurveSummary", config: DoomConfig) -> float:
    """Return the loss above which a trial is in trouble."""
    sure, best = summary.sure_level, summary.best_level
    limit = sure + max(config.rise * sure, config.give_back * (summary.first_loss - sure))
    return min(limit, best + max(config.max_rise * best, config.give_back * (summary.first_loss - best)))


def say_tokens(tokens: int) -> str:
    """Write a number of tokens the way people say it: `640`, `12.3k`, `0.8M`."""
    if tokens < 1_000:
        return str(tokens)
    return f"{tokens / 1e3:.1f}k" if tokens < 100_000 else f"{tokens / 1e6:.1f}M"
