"""How often each doom rule errs on recorded curves: `python -m tests.bench.doom_rules` prints a table.

A sound run that is ended is an error, and so is a doomed one that is found late or never. Late is counted
from the turn, the first point from which on the run was lost, as a share of the whole run.
"""

import argparse
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.stalled import Peers, StallRule
from tests import curves
from train_fn.curve import Curve
from train_fn.doom import DoomConfig, judge
from train_fn.report import Point, Report

CHANCE = 0.68
"""TaskSet's imdb task has two classes: a run that ends at ln 2 = 0.693 has learned nothing."""
DIVERGING = ("lr_sweep_3e-1", "lr_sweep_1")
STALLING = "lr_sweep_1e-1"
WINDOWS = 50
TASKSET_BATCH = 50 * 128
"""Sequences behind one evaluation of TaskSet: 50 mini-batches (`minibatch_per_evaluation` in
google-research/task_set/train_inner.py) of the 128 in the task's name."""
HEADER = """| rule | runs | sound ones ended | doomed ones found | median delay after the turn (largest) |
|---|---|---|---|---|"""
DOOMED_SCALES = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0)
"""Of consecutive steps of a run that was lost, as published; the rest of its log is not."""


@dataclass(frozen=True)
class Counted:
    """What one rule did on one set of runs."""

    rule: str
    runs: str
    sound: int
    ended: int
    """Sound runs that were ended."""
    doomed: int
    delays: tuple[float, ...]
    """Of the doomed runs that were found, each as a share of the run after its turn."""

    def line(self) -> str:
        """Write it as a row of a Markdown table."""
        false = f"{self.ended} of {self.sound}" if self.sound else "-"
        found = f"{len(self.delays)} of {self.doomed}" if self.doomed else "-"
        late = statistics.median(self.delays) if self.delays else math.nan
        worst = max(self.delays, default=math.nan)
        delay = f"{late:.1%} ({worst:.1%})" if self.delays else "-"
        return f"| {self.rule} | {self.runs} | {false} | {found} | {delay} |"


def judged(
    steps: Iterable[tuple[int, float, float]], most: int, batch_size: int, config: DoomConfig | None = None
) -> tuple[float, str] | None:
    """Return after which share of the run the rules end it, and why; None when they never do.

    Args:
        steps: Tokens seen, loss and gradient norm of each.
        most: Tokens of the whole run, which is judged a hundred times.
        batch_size: Sequences of a step; 1 where it is not known.
        config: The rules; None for the defaults.
    """
    curve, every = Curve.fresh(batch_size), max(1, most // 100)
    for tokens, loss, norm in steps:
        due = tokens // every > curve.tokens_seen // every
        curve.add(tokens, loss, norm, 0.0, False)
        verdict = judge(curve, config or DoomConfig(), most) if due or not math.isfinite(loss) else None
        if verdict is not None:
            return tokens / most, verdict.reason
    return None


def ended_at(losses: Sequence[float], batch_size: int = 1) -> tuple[float, str] | None:
    """Judge a recording that holds losses alone, evenly spaced."""
    return judged(((k, loss, 1.0) for k, loss in enumerate(losses, start=1)), len(losses), batch_size)


def turn(losses: Sequence[float], lost: Callable[[float], bool]) -> float:
    """Return the share of the run after which it is lost for good."""
    last_sound = max((k for k, loss in enumerate(losses) if not lost(loss)), default=-1)
    return (last_sound + 1) / len(losses)


def stalled_at(runs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Let all runs go at the same pace; return after which share of the run each stalled one is ended."""
    peers = Peers(StallRule(), WINDOWS * 100, 100)
    live = {name: Curve.fresh() for name in runs}
    found: dict[str, float] = {}
    for window in range(1, WINDOWS + 1):
        for number, (name, losses) in enumerate(runs.items()):
            part = losses[(window - 1) * len(losses) // WINDOWS : window * len(losses) // WINDOWS]
            if name in found or not part:
                continue
            for k, loss in enumerate(part):
                seen = (window - 1) * 100 + (k + 1) * 100 // len(part)
                live[name].add(seen, loss, 1.0, 0.0, False)
            if peers.judge(window_report(number, window * 100, live[name], part), {}) is not None:
                found[name] = window / WINDOWS
    return found


def window_report(trial: int, tokens: int, curve: Curve, part: Sequence[float]) -> Report:
    """Return what the rule for stalled trials reads of a report, and nothing else.

    Args:
        trial: Its number.
        tokens: Seen by it.
        curve: Of the trial so far.
        part: The losses of the window.
    """
    finite = [loss for loss in part if math.isfinite(loss)]
    mean = statistics.fmean(finite) if finite else 0.0
    one = curve.summary()
    points = (Point(tokens, mean, one.ema_90, one.ema_98),) if finite else ()
    rest = (1.0, 1.0, 0.0, 0, 0.0, 0, one.trend, 1.0, 1.0, 0.0, None)
    return Report(trial, tokens, one.steps, len(part), mean, points, *rest)


def language_model() -> Counted:
    """Count on the sweep from scratch, judged by the loss of every tenth step."""
    runs = curves.language_model_losses()
    sound = [losses for name, losses in runs.items() if name not in (*DIVERGING, STALLING)]
    delays = []
    for name in DIVERGING:
        losses = runs[name]
        turned = next(k for k, loss in enumerate(losses) if loss > 2 * min(losses[: k + 1]))
        delays += _delay(ended_at(losses), turned / len(losses))
    ended = sum(ended_at(losses) is not None for losses in sound)
    return Counted("diverged", "language model", len(sound), ended, len(DIVERGING), tuple(delays))


def taskset() -> Iterable[Counted]:
    """Count on the 2,000 runs of TaskSet, judged by their validation loss."""
    runs = [losses for task in curves.TASKSET for losses in curves.taskset_losses(task)]
    sound = [losses for losses in runs if all(map(math.isfinite, losses)) and losses[-1] < CHANCE]
    reasons = [found[1] for losses in sound if (found := ended_at(losses, TASKSET_BATCH)) is not None]
    lost = [losses for losses in runs if not math.isfinite(losses[-1])]
    delays = [
        d
        for x in lost
        for d in _delay(ended_at(x, TASKSET_BATCH), turn(x, lambda loss: not math.isfinite(loss)))
    ]
    ended = sum("not finite" in reason for reason in reasons)
    yield Counted("not finite", "TaskSet", len(sound), ended, len(lost), tuple(delays))
    risen = [x for x in runs if all(map(math.isfinite, x)) and x[-1] > 1.3 * x[0]]
    delays = [
        d
        for x in risen
        for d in _delay(ended_at(x, TASKSET_BATCH), turn(x, lambda loss, top=1.3 * x[0]: loss > top))
    ]
    ended = sum("not finite" not in reason for reason in reasons)
    yield Counted("diverged", "TaskSet", len(sound), ended, len(risen), tuple(delays))


def fine_tuning() -> Counted:
    """Count on the fine-tuning runs, none of which is lost."""
    runs = curves.fine_tuning_losses().values()
    return Counted("diverged", "fine-tuning", len(runs), sum(ended_at(x) is not None for x in runs), 0, ())


def overflowing() -> Counted:
    """Count on the recorded fp16 run, in tenths, and on the scales of one that was lost."""
    steps = curves.fp16_steps()
    curve, ended = Curve.fresh(), 0
    for k, step in enumerate(steps, start=1):
        curve.add(k, 3.0, math.inf if step.overflowed else 1.0, step.scale, step.overflowed)
        ended += judge(curve, DoomConfig(), len(steps)) is not None
    found = ()
    for k, scale in enumerate(DOOMED_SCALES, start=len(steps) + 1):
        curve.add(k, 3.0, math.inf, scale, True)
        if not found and judge(curve, DoomConfig(), len(steps)) is not None:
            found = ((k - len(steps)) / len(steps),)
    return Counted("overflowing", "fp16 steps", len(steps), ended, 1, found)


def stalled() -> Iterable[Counted]:
    """Count the trials stalled above their peers, all of a sweep at the same pace."""
    runs = {name: losses for name, losses in curves.language_model_losses().items() if name.startswith("lr")}
    found = stalled_at(runs)
    false = sum(name not in (*DIVERGING, STALLING) for name in found)
    sound = len(runs) - len(DIVERGING) - 1
    yield Counted(
        "stalled", "language model", sound, false, 1, tuple(t for n, t in found.items() if n == STALLING)
    )
    for task in curves.TASKSET:
        runs = {str(k): losses[1:] for k, losses in enumerate(curves.taskset_losses(task))}
        well = {name for name, losses in runs.items() if losses[-1] < CHANCE}
        yield Counted(
            "stalled", f"TaskSet {task.split('_')[0]}", len(well), len(well & stalled_at(runs).keys()), 0, ()
        )
    runs = curves.fine_tuning_losses()
    middle = statistics.median(losses[-1] for losses in runs.values())
    well = {name for name, losses in runs.items() if losses[-1] <= 1.5 * middle}
    yield Counted("stalled", "fine-tuning", len(well), len(well & stalled_at(runs).keys()), 0, ())


def _delay(found: tuple[float, str] | None, turned: float) -> list[float]:
    return [] if found is None else [max(0.0, found[0] - turned)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=Path, default=curves.SHARED)
    folder = parser.parse_args().curves
    if not folder.is_dir():
        parser.error(f"no recorded curves: there is no folder {folder}; --curves names another")
    os.environ["SFT_SEARCH_CURVES"] = str(folder)
    print(HEADER)
    for one in (language_model(), *taskset(), fine_tuning(), overflowing(), *stalled()):
        print(one.line(), flush=True)


if __name__ == "__main__":
    main()
