"""A curve thinned to a bounded number of blocks, however long the trial."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from statistics import median_low

from train_fn.trend import NO_TREND, Trend, trend

MAX_BLOCKS = 128
TREND_POINTS = 32


@dataclass
class Block:
    """Some consecutive steps with a finite loss."""

    steps: int
    first_tokens: int
    last_tokens: int
    loss: float
    """Mean."""
    lowest_level: float
    """Lowest smoothed loss at a step of the block."""
    log_norm: float | None
    """Mean log of the gradient norms; None without any."""


@dataclass
class History:
    """All steps with a finite loss, in blocks of equally many.

    When `MAX_BLOCKS` are full, neighbours are joined in pairs: the memory stays bounded, and the cost of a
    step is constant on average. A block then holds at most a 64th of the steps.
    """

    blocks: list[Block] = field(default_factory=list)
    block_steps: int = 1
    _trend_of: tuple[int, int] = field(default=(0, 0), repr=False, compare=False)
    _trend: Trend = field(default=NO_TREND, repr=False, compare=False)

    def add(self, tokens_seen: int, loss: float, level: float, log_norm: float | None) -> None:
        """Add a step with its loss, its smoothed loss and the log of its gradient norm."""
        new = Block(1, tokens_seen, tokens_seen, loss, level, log_norm)
        if self.blocks and self.blocks[-1].steps < self.block_steps:
            self.blocks[-1] = _join(self.blocks[-1], new)
            return
        if len(self.blocks) == MAX_BLOCKS:
            self.blocks = _join_pairs(self.blocks)
            self.block_steps *= 2
        self.blocks.append(new)

    def sustained_above(self, level: float) -> tuple[int, int]:
        """Return for how long the smoothed loss has now stayed above `level`, in whole blocks.

        Returns:
            `(steps, tokens)` from the first step above to the last; `(0, 0)` when the last block touches it,
            or when a spike alone holds the smoothed loss up: half of the blocks since are below again.
        """
        above = list(takewhile(lambda block: block.lowest_level > level, reversed(self.blocks)))
        if above and median_low([block.loss for block in above]) <= level:
            return 0, 0
        return _steps(above), above[0].last_tokens - above[-1].first_tokens if above else 0

    def trend(self) -> Trend:
        """Return the trend over the later half of the steps; it is computed anew when a block was begun."""
        key = (self.block_steps, len(self.blocks))
        if key != self._trend_of:
            # The newest block is not full yet, and the mean of few steps is noisier than the others.
            full = self.blocks[:-1] if self.block_steps > 1 else self.blocks
            recent = full[-max(TREND_POINTS // 2, len(full) // 2) :]
            while len(recent) > TREND_POINTS:
                recent = _join_pairs(recent[len(recent) % 2 :])
            self._trend = trend([b.last_tokens for b in recent], [b.loss for b in recent])
            self._trend_of = key
        return self._trend

    def log_norms(self) -> list[float]:
        """Return the mean log of the gradient norms, block by block."""
        return [b.log_norm for b in self.blocks if b.log_norm is not None]


def _steps(blocks: Sequence[Block]) -> int:
    return sum(block.steps for block in blocks)


def _join_pairs(blocks: Sequence[Block]) -> list[Block]:
    return [_join(a, b) for a, b in zip(blocks[::2], blocks[1::2], strict=True)]


def _join(a: Block, b: Block) -> Block:
    share = b.steps / (a.steps + b.steps)
    if a.log_norm is None or b.log_norm is None:
        log_norm = b.log_norm if a.log_norm is None else a.log_norm
    else:
        log_norm = a.log_norm + share * (b.log_norm - a.log_norm)
    return Block(
        steps=a.steps + b.steps,
        first_tokens=a.first_tokens,
        last_tokens=b.last_tokens,
        loss=a.loss + share * (b.loss - a.loss),
        lowest_level=min(a.lowest_level, b.lowest_level),
        log_norm=log_norm,
    )
