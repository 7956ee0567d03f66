"""The level of a noisy loss: its moving average, how sure that is, and how far losses lie above one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Average:
    """A debiased exponential moving average, in a form that keeps a constant exactly."""

    factor: float
    value: float = 0.0
    weight: float = 0.0
    """1 - factor^n after n values."""

    def add(self, x: float) -> None:
        """Add a finite value."""
        self.weight = self.factor * self.weight + (1 - self.factor)
        self.value += (1 - self.factor) / self.weight * (x - self.value)

    def deviation(self) -> float:
        """Return its standard deviation if that of each value is 1 and they are independent.

        The root of the sum of its squared weights, (1 - f) f^k / (1 - f^n) for k from 0 to n - 1: 1 after one
        value, (1 - f) / (1 + f) under the root after many.
        """
        power = 1 - self.weight
        return math.sqrt((1 - self.factor) * (1 + power) / ((1 + self.factor) * self.weight))


@dataclass(frozen=True)
class Excess:
    """How far the last losses lie above a level."""

    spreads: float
    """Added up over the steps; 0 when the last loss is not above."""
    steps: int
    tokens: int
    """From the step before the first of these to the last."""


def excess(recent: Sequence[tuple[int, float]], level: float, spread: float, most: float) -> Excess:
    """Return the cumulative sum of Page (1954, Biometrika 41:100) of (loss - level) / spread.

    It begins at the step from which on it is largest: there the losses rose above the level. A loss below it
    takes away from the sum, so a noisy rise counts, and losses that were high but came back do not.

    Args:
        recent: Tokens seen and loss of the last steps, oldest first.
        level: In nats.
        spread: Standard deviation of the loss of a step, in nats, above 0.
        most: What one step adds at most, so that a spike alone counts for little.
    """
    total, found = 0.0, Excess(0.0, 0, 0)
    for steps, (_, loss) in enumerate(reversed(recent), start=1):
        total += min((loss - level) / spread, most)
        if total > found.spreads:
            before = recent[max(0, len(recent) - steps - 1)][0]
            found = Excess(total, steps, recent[-1][0] - before)
    return found
