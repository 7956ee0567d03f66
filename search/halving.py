"""Asynchronous successive halving on tokens seen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """One verdict at a rung, with the numbers behind it."""

    trial: int
    bracket: int
    rung: int
    rung_tokens: int
    tokens_seen: int
    value: float
    """Eval NLL of the trial at this rung."""
    cutoff: float | None
    """Eval NLL a trial must reach to go on; None while too few have arrived."""
    paired_difference: float | None
    """Mean per-token difference to the trial at the cutoff on the same examples."""
    standard_error: float | None
    peers: int
    """Trials that had arrived at this rung, this one included."""
    keep: bool
    reason: str
