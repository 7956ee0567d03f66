"""What is trained in one round of a benchmark, and how fast it went.

Training speeds are taken in seconds of processor time. A step on one thread is computation and nothing else:
on a quiet machine they are those of the clock, and other work on the machine lengthens them far less.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Steps over given examples."""

    prepared: Path
    """Folder of the prepared data."""
    numbers: tuple[int, ...]
    """Its examples in the order of training, as many as `warmup` and `steps` steps take."""
    batch: int
    """Effective batch size."""
    warmup: int
    """Steps before the clock starts."""
    steps: int
    """Steps that are timed."""


@dataclass(frozen=True)
class Pace:
    """What was trained after the warm-up, and what it took."""

    tokens: int
    """Of prompts and answers, without padding."""
    seconds: float
    """Of processor time."""
