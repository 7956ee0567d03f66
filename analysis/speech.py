"""Figures of what models say."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """What a model answered."""

    text: str
    ended: bool
    """Whether it said its end token before it had to stop."""
