"""When a worker group hangs: a pure judgement over the heartbeats of its ranks."""

from collections.abc import Mapping
from dataclasses import dataclass

from train_fn.heartbeat import Beat

QUIET_FRACTION = 0.8
"""Of `run.hang_timeout_s`: the rest is for the stacks and for ending the processes."""


@dataclass(frozen=True)
class Hang:
    """A worker group that is to be ended, and the trial that it holds."""

    beats: tuple[Beat, ...]
    """The last of each rank."""
    workspace: str
    """The trial's folder."""


@dataclass(frozen=True)
class Watched:
    """One rank as its beats show it; times are seconds of one clock."""

    beat: Beat
    alive: float
    """When the last beat came."""
    moved: float
    """When the last beat came that showed progress."""


def watched(before: Watched | None, beat: Beat, now: float) -> Watched:
    """Return what is known of a rank after one more beat.

    Outside of a step (loading, evaluation, checkpoints, waiting) there is no count that could advance, so
    there a beat by itself is progress; inside of one only another step is.
    """
    stuck = (
        before is not None
        and beat.place is not None
        and (beat.steps, beat.place) == (before.beat.steps, before.beat.place)
    )
    return Watched(beat, now, before.moved if stuck and before is not None else now)


def hang_told(ranks: Mapping[int, Watched], now: float, hang_timeout_s: float) -> str:
    """Say which ranks hang; empty while the group is well.

    It hangs when a rank has sent no beat (it is stopped, or dead without anybody noticing), or when no rank
    has made progress: one that is still loading while the others wait for it in their first step is no hang.
    """
    quiet_s = QUIET_FRACTION * hang_timeout_s
    silent = [rank for rank, one in sorted(ranks.items()) if now - one.alive > quiet_s]
    if silent:
        return f"rank {', '.join(map(str, silent))} gave no sign of life for {quiet_s:.0f} s"
    if ranks and all(now - one.moved > quiet_s for one in ranks.values()):
        steps = max(one.beat.steps for one in ranks.values())
        return f"no rank advanced for {quiet_s:.0f} s in step {steps + 1:,}"
    return ""
