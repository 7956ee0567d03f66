"""Rules that end a trial early, judged on its curve."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DoomConfig:
    """Parameters of the doom rules."""

    enabled: bool = True
