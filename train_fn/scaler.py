"""What a dynamic loss scaler tells about a trial: overflows, and where the scale goes.

DeepSpeed's scaler skips a step that overflows and halves the scale once its hysteresis is used up; after a
window of steps without an overflow it doubles the scale. So a sound fp16 run overflows too, about hysteresis
times in each (window + hysteresis) steps, and at its start a dozen times in a row while it looks for a scale.
"""

import math
from dataclasses import dataclass, field

RECENT_STEPS = 200
SEARCH_OVER_STEPS = 5
"""So many steps without an overflow end the first search for a scale."""


@dataclass
class ScalerWatch:
    """The overflows and loss scales of a trial, bounded."""

    steps: int = 0
    overflow_steps: int = 0
    in_a_row: int = 0
    """Overflows up to now without a step between them."""
    clean_in_a_row: int = 0
    settled_at: int = 0
    """Steps after which the first search for a scale was over; 0 while it lasts."""
    unchanged_steps: int = 0
    """Steps since the last overflow or rise of the scale."""
    raised_after_steps: int = 0
    """Fewest such steps after which the scale rose: the scaler's window; 0 if not seen."""
    floor: float = 0.0
    """Lowest scale so far; 0 without any."""
    overflowed: list[bool] = field(default_factory=list)
    """Of the last `RECENT_STEPS` steps."""
    scales: list[float] = field(default_factory=list)
    """Loss scales of the same steps."""

    def add(self, scale: float, overflowed: bool) -> None:
        """Add a step; `scale` is 0 when the precision has none."""
        before = self.scales[-1] if self.scales else 0.0
        if 0 < before < scale:
            seen = self.unchanged_steps
            self.raised_after_steps = min(seen, self.raised_after_steps or seen)
            self.unchanged_steps = 0
        if scale > 0:
            self.floor = min(scale, self.floor or scale)
        self.steps += 1
        self.overflow_steps += overflowed
        self.in_a_row = self.in_a_row + 1 if overflowed else 0
        self.clean_in_a_row = 0 if overflowed else self.clean_in_a_row + 1
        self.unchanged_steps = 0 if overflowed else self.unchanged_steps + 1
        if self.settled_at == 0 and self.clean_in_a_row >= SEARCH_OVER_STEPS:
            self.settled_at = self.steps
        self.overflowed = [*self.overflowed, overflowed][-RECENT_STEPS:]
        self.scales = [*self.scales, scale][-RECENT_STEPS:]

    @property
    def settled_steps(self) -> int:
        """Count the recent steps that came after the first search for a scale."""
        return min(self.steps - self.settled_at, len(self.scales)) if self.settled_at else 0

    @property
    def settled_overflows(self) -> int:
        """Count the overflows among `settled_steps`."""
        return sum(self.overflowed[len(self.overflowed) - self.settled_steps :])

    @property
    def change_log2(self) -> float:
        """Return how far log2 of the scale moved over `settled_steps`."""
        scales = self.scales[len(self.scales) - self.settled_steps :]
        return math.log2(scales[-1] / scales[0]) if scales and min(scales) > 0 else 0.0
