"""The training curves as they are drawn: thinned without losing a spike, and framed.

Spikes are counted by the live run (`train_fn.curve`), window by window. Which points they were is found
again here: a window that counted k spikes has them at its k points furthest above the smoothed loss before
them; the ledger never drops the largest loss of a window.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from analysis.records import SearchRecord, TrialRecord
from spaces.words import params_text, tokens_text, trial_id

Group = Literal["best", "finished", "halved", "doomed", "failed", "running", "cancelled"]
POINTS_OF_ALL = 90_000
"""A page with so many points weighs about 2 MB more than an empty one and is drawn at once."""
MAX_POINTS, MIN_POINTS = 1_500, 120
"""Of one curve."""
EDGE = 0.06
"""Free room above and below the curves, as a share of the frame."""


@dataclass(frozen=True)
class Line:
    """One curve, thinned. All four sequences are of the same length."""

    trial: TrialRecord
    group: Group
    tokens: tuple[int, ...]
    raw: tuple[float, ...]
    ema_90: tuple[float, ...]
    ema_98: tuple[float, ...]


@dataclass(frozen=True)
class Mark:
    """Something that happened on a curve."""

    trial: TrialRecord
    group: Group
    tokens: int
    loss: float
    """Where it is drawn."""
    told: str


@dataclass(frozen=True)
class Frame:
    """What of the vertical axis is shown at first."""

    low: float
    high: float
    outside: int
    """Curves that leave it."""


@dataclass(frozen=True)
class Curves:
    """All curves of a search."""

    lines: tuple[Line, ...]
    spikes: tuple[Mark, ...]
    overflows: tuple[Mark, ...]
    """One for each window in which steps were skipped, drawn at its end."""
    frame: Frame
    points: int
    """Points before thinning."""


def group_of(trial: TrialRecord, best: TrialRecord | None) -> Group:
    """Return what a trial is drawn as."""
    if best is not None and trial.number == best.number:
        return "best"
    if trial.status == "diverged" or trial.status == "overflowing":
        return "doomed"
    return trial.status


def about(trial: TrialRecord) -> str:
    """Say in one line what a trial is and what became of it."""
    after = f"after {tokens_text(trial.eval_tokens)} tokens"
    nll = "" if trial.eval_nll is None else f", eval NLL {trial.eval_nll:.4f} {after}"
    again = again_text(trial)
    return f"{trial.id}: {f'{again}, ' if again else ''}{params_text(trial.params)}, {trial.status}{nll}"


def again_text(trial: TrialRecord) -> str:
    """Say which trial a run is of again: with what other seed, or to its end; nothing of others."""
    if trial.confirms is not None:
        return f"{trial_id(trial.search, trial.confirms)} with seed {trial.seed}"
    return "" if trial.finishes is None else f"{trial_id(trial.search, trial.finishes)} to its end"


def curves(search: SearchRecord, best: TrialRecord | None) -> Curves:
    """Compute the curves of a search."""
    with_points = [trial for trial in search.trials if any(window.points for window in trial.windows)]
    limit = max(MIN_POINTS, min(MAX_POINTS, POINTS_OF_ALL // max(1, len(with_points))))
    lines, spikes, overflows, points = [], list[Mark](), list[Mark](), 0
    for trial in with_points:
        group = group_of(trial, best)
        all_points = [point for window in trial.windows for point in window.points]
        found = spike_places(trial)
        kept = [all_points[i] for i in thin([point[1] for point in all_points], limit, found)]
        points += len(all_points)
        tokens, raw, ema_90, ema_98 = zip(*kept, strict=True)
        lines.append(Line(trial, group, tokens, raw, ema_90, ema_98))
        for i in found:
            told = f"spike: loss {all_points[i][1]:.3f}, smoothed {all_points[i - 1][2]:.3f}"
            spikes.append(Mark(trial, group, all_points[i][0], all_points[i][1], told))
        overflows += _overflow_marks(trial, group)
    # Grey below colour, the best on top.
    lines.sort(key=lambda line: _DEPTH.index(line.group))
    return Curves(tuple(lines), tuple(spikes), tuple(overflows), frame(lines), points)


_DEPTH: list[Group] = ["halved", "cancelled", "failed", "doomed", "running", "finished", "best"]


def spike_places(trial: TrialRecord) -> list[int]:
    """Return the places of the spikes among all points of a trial, rising."""
    places, before, offset = [], 0, 0
    smoothed: float | None = None
    for window in trial.windows:
        above = []
        for i, point in enumerate(window.points):
            if smoothed is not None:
                above.append((point[1] - smoothed, offset + i))
            smoothed = point[2]
        new = window.spikes - before
        before, offset = window.spikes, offset + len(window.points)
        if new > 0:
            places += sorted(place for _, place in sorted(above, reverse=True)[:new])
    return places


def thin(values: Sequence[float], limit: int, keep: Sequence[int]) -> list[int]:
    """Choose places of at most about `limit` values that draw the same picture.

    Of each of `limit / 2` stretches the lowest and the highest value stay, and so do the two ends and `keep`.
    """
    n = len(values)
    if n <= limit:
        return list(range(n))
    bounds = [round(i * n / max(1, limit // 2)) for i in range(max(1, limit // 2) + 1)]
    chosen = {0, n - 1, *keep}
    for start, end in pairwise(bounds):
        chosen.add(min(range(start, end), key=values.__getitem__))
        chosen.add(max(range(start, end), key=values.__getitem__))
    return sorted(chosen)


def frame(lines: Sequence[Line]) -> Frame:
    """Choose a frame for the sound curves: a loss of a diverged one would press the others flat.

    It holds the smoothed losses of all sound curves and 98% of their raw ones.
    """
    sound = [line for line in lines if line.group != "doomed"] or list(lines)
    if not sound:
        return Frame(0.0, 1.0, 0)
    smooth = [value for line in sound for value in line.ema_90]
    raw = sorted(value for line in sound for value in line.raw)
    low = min(min(smooth), raw[int(0.01 * (len(raw) - 1))])
    high = max(max(smooth), raw[math.ceil(0.99 * (len(raw) - 1))])
    room = EDGE * (high - low) or 0.1
    low, high = low - room, high + room
    outside = sum(max(line.ema_90) > high for line in lines)
    return Frame(low, high, outside)


def _overflow_marks(trial: TrialRecord, group: Group) -> list[Mark]:
    marks, before, level = [], 0, 0.0
    for window in trial.windows:
        new, before = window.overflow_steps - before, window.overflow_steps
        level = window.points[-1][2] if window.points else level
        if new > 0:
            told = (
                f"{new} of these steps overflowed and were skipped; {window.overflow_steps} since the start"
            )
            marks.append(Mark(trial, group, window.tokens_seen, level, told))
    return marks
