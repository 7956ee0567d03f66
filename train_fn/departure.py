"""A machine of a trial's group that is about to be taken away: when the trial is saved for the last times.

The trial is saved at once, because the end may come early, and again at the last window borders from which
a checkpoint can still be finished before the deadline, because what is trained after it is lost.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Departure:
    """Ray's announcement that a machine of the worker group will be taken away."""

    deadline: float | None
    """Unix time in seconds; None when nobody says."""


Departing = Callable[[], Departure | None]
"""Asked at the same window borders on every rank; gives the same answer on all, None while all machines
stay."""

MARGIN = 2.0
"""A window and a checkpoint may take so many times as long as the ones before them."""


def all_stay() -> Departure | None:
    """Let a trial run on machines that nobody takes away."""
    return None


def is_save_due(departure: Departure, now: float, window_s: float, save_s: float, saved: bool) -> bool:
    """Tell whether the trial is saved at this window border because of the departure.

    Args:
        departure: What was announced.
        now: Unix time in seconds.
        window_s: How long the last window took; the next one should take as long.
        save_s: How long the last checkpoint took from the copy to the disk; 0 before the first one.
        saved: Whether the trial was saved since the announcement.
    """
    if departure.deadline is None:
        return not saved
    left_s = departure.deadline - now
    if MARGIN * save_s > left_s:
        return False  # it would be torn
    return not saved or MARGIN * (window_s + save_s) > left_s
