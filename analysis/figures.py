"""What the other figures show, computed: the map, the rungs, evaluations. Drawing adds nothing to it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.curves import EDGE, Group, group_of
from analysis.records import Decision, SearchRecord, TrialRecord

COLUMNS, ROWS = 96, 48
"""Cells of the map on which the doomed region is decided."""


@dataclass(frozen=True)
class Spot:
    """One trial on the map."""

    trial: TrialRecord
    group: Group
    log10_lr: float
    log2_batch: float


@dataclass(frozen=True)
class Box:
    """A rectangle, in the logarithms of the map."""

    left: float
    right: float
    bottom: float
    top: float


@dataclass(frozen=True)
class LrBatchMap:
    """Learning rate against effective batch size."""

    spots: tuple[Spot, ...]
    doomed: tuple[Box, ...]
    """Where the nearest trial, on this map, was doomed."""
    extent: Box
    nll_low: float
    nll_high: float
    """Range of the colours: the best eval NLL, and the one that a tenth of the trials exceed."""
    batches: tuple[int, ...]


@dataclass(frozen=True)
class EvalLine:
    """The evaluations of one trial."""

    trial: TrialRecord
    group: Group
    tokens: tuple[int, ...]
    nll: tuple[float, ...]
    stderr: tuple[float, ...]


@dataclass(frozen=True)
class Rung:
    """One rung of one bracket."""

    bracket: int
    rung: int
    tokens: int
    arrived: int
    kept: int
    by_noise: int
    """Of the kept ones, those behind the cutoff that the noise might have hidden."""
    stopped: int


@dataclass(frozen=True)
class Ladder:
    """The rungs, every decision in its order, and the evaluations between them."""

    rungs: tuple[Rung, ...]
    decisions: tuple[Decision, ...]
    lines: tuple[EvalLine, ...]
    low: float
    high: float


def lr_batch_map(search: SearchRecord, best: TrialRecord | None) -> LrBatchMap | None:
    """Compute the map; None when all trials have the same learning rate or the same batch size.

    A run of a trial again would lie on the same point and hide it. So a run that confirms one is left out,
    and of a halved trial and its run to the end the run stands there.
    """
    again = {trial.finishes for trial in search.own}
    own = [trial for trial in search.own if trial.number not in again]
    trials = [trial for trial in own if trial.eval_nll is not None or trial.doomed]
    spots = tuple(
        Spot(trial, group_of(trial, best), math.log10(trial.lr), math.log2(trial.effective_batch_size))
        for trial in trials
    )
    if len({spot.log10_lr for spot in spots}) < 2 or len({spot.log2_batch for spot in spots}) < 2:
        return None
    sound = sorted(t.eval_nll for t in trials if t.eval_nll is not None and not t.doomed)
    extent = _extent(spots)
    return LrBatchMap(
        spots=spots,
        doomed=doomed_region(spots, extent),
        extent=extent,
        nll_low=sound[0] if sound else 0.0,
        nll_high=sound[int(0.9 * (len(sound) - 1))] if sound else 1.0,
        batches=tuple(sorted({trial.effective_batch_size for trial in trials})),
    )


def doomed_region(spots: Sequence[Spot], extent: Box) -> tuple[Box, ...]:
    """Return the cells whose nearest trial was doomed, neighbours in a row joined.

    Distances are on the map as it is drawn: its width and its height both count as one.
    """
    width, height = extent.right - extent.left, extent.top - extent.bottom
    places = [
        ((s.log10_lr - extent.left) / width, (s.log2_batch - extent.bottom) / height, s.trial.doomed)
        for s in spots
    ]
    if not any(doomed for _, _, doomed in places):
        return ()
    boxes = []
    for row in range(ROWS):
        y, begin = (row + 0.5) / ROWS, None
        for column in range(COLUMNS + 1):
            x = (column + 0.5) / COLUMNS
            inside = column < COLUMNS and _nearest_doomed(places, x, y)
            if inside and begin is None:
                begin = column
            elif not inside and begin is not None:
                left, right = (extent.left + width * edge / COLUMNS for edge in (begin, column))
                bottom, top = (extent.bottom + height * edge / ROWS for edge in (row, row + 1))
                boxes.append(Box(left, right, bottom, top))
                begin = None
    return tuple(boxes)


def ladder(search: SearchRecord, best: TrialRecord | None) -> Ladder:
    """Compute the rungs with their decisions, and the evaluations of every trial."""
    groups: dict[tuple[int, int], list[Decision]] = {}
    for decision in search.decisions:
        groups.setdefault((decision.bracket, decision.rung), []).append(decision)
    rungs = tuple(
        Rung(
            bracket=bracket,
            rung=rung,
            tokens=some[0].rung_tokens,
            arrived=len(some),
            kept=sum(d.keep for d in some),
            by_noise=sum(kept_for_noise(d) for d in some),
            stopped=sum(not d.keep for d in some),
        )
        for (bracket, rung), some in sorted(groups.items())
    )
    lines = tuple(
        EvalLine(
            trial,
            group_of(trial, best),
            tuple(one.tokens_seen for one in trial.evals),
            tuple(one.evaluation.nll for one in trial.evals),
            tuple(one.evaluation.stderr for one in trial.evals),
        )
        for trial in search.trials
        if trial.evals
    )
    low, high = _eval_frame(lines)
    return Ladder(rungs, search.decisions, lines, low, high)


def kept_for_noise(decision: Decision) -> bool:
    """Return whether a trial went on although it missed the cutoff."""
    return decision.keep and decision.cutoff is not None and decision.value > decision.cutoff


def _eval_frame(lines: Sequence[EvalLine]) -> tuple[float, float]:
    """Return a range that holds 95% of the evaluations of sound trials, and all of the lowest."""
    values = sorted(nll for line in lines if line.group != "doomed" for nll in line.nll)
    values = values or sorted(nll for line in lines for nll in line.nll) or [0.0, 1.0]
    low, high = values[0], values[math.ceil(0.95 * (len(values) - 1))]
    room = EDGE * (high - low) or 0.1
    return low - room, high + room


def _extent(spots: Sequence[Spot]) -> Box:
    lrs, batches = [spot.log10_lr for spot in spots], [spot.log2_batch for spot in spots]
    room = 0.08 * (max(lrs) - min(lrs))
    return Box(min(lrs) - room, max(lrs) + room, min(batches) - 0.5, max(batches) + 0.5)


def _nearest_doomed(places: Sequence[tuple[float, float, bool]], x: float, y: float) -> bool:
    return min(places, key=lambda place: (place[0] - x) ** 2 + (place[1] - y) ** 2)[2]
