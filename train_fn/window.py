"""What a window of optimizer steps amounts to, fetched from the device in one go."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from train_fn.curve import Curve
from train_fn.engine import StepResult
from train_fn.report import MAX_POINTS, Point


@dataclass(frozen=True)
class Step:
    """One optimizer step whose figures are still on the device."""

    tokens_seen: int
    lr: float
    tokens: int
    result: StepResult


@dataclass(frozen=True)
class Window:
    """The figures of the steps since the last report; the same on all ranks."""

    steps: int
    tokens: int
    mean_loss: float
    """Over the finite step losses; NaN if there is none."""
    points: tuple[Point, ...]
    lr: float
    grad_norm: float
    """The last finite one; 0 if there is none."""
    loss_scale: float
    overflow_rate: float
    dead: bool
    """The last step was taken with a loss that is not finite, so the weights are lost."""


def fetch_window(steps: Sequence[Step], curve: Curve) -> Window:
    """Wait for the device, add up the ranks' parts of each loss, and add every step to the curve.

    Args:
        steps: At least one.
        curve: Gets one more entry for each step.
    """
    summed = torch.stack([s.result.loss for s in steps])
    distributed.all_reduce(summed)
    losses: list[float] = summed.tolist()
    norms = _fetch([s.result.grad_norm for s in steps])
    shown = thin(losses)
    points = []
    for k, (step, loss, norm) in enumerate(zip(steps, losses, norms, strict=True)):
        result = step.result
        curve.add(step.tokens_seen, loss, norm, result.loss_scale, result.overflowed)
        if k in shown:
            points.append(Point(step.tokens_seen, loss, curve.fast.value, curve.slow.value))
    finite = [x for x in losses if math.isfinite(x)]
    last = steps[-1]
    return Window(
        steps=len(steps),
        tokens=sum(s.tokens for s in steps),
        mean_loss=math.fsum(finite) / len(finite) if finite else math.nan,
        points=tuple(points),
        lr=last.lr,
        grad_norm=next((n for n in reversed(norms) if math.isfinite(n) and n >= 0), 0.0),
        loss_scale=last.result.loss_scale,
        overflow_rate=sum(s.result.overflowed for s in steps) / len(steps),
        dead=not (math.isfinite(losses[-1]) or last.result.overflowed or last.result.discarded),
    )


def _fetch(norms: Sequence[Tensor | float]) -> list[float]:
    tensors = [torch.as_tensor(n, dtype=torch.float32) for n in norms]
    on_device = [t for t in tensors if t.device.type != "cpu"]
    if len(on_device) == len(tensors):
        fetched: list[float] = torch.stack([t.reshape(()) for t in tensors]).tolist()
        return fetched
    return [float(t) for t in tensors]


def thin(losses: Sequence[float]) -> frozenset[int]:
    """Return the places of at most `MAX_POINTS` finite losses: evenly spread, with the largest among them."""
    finite = [k for k, loss in enumerate(losses) if math.isfinite(loss)]
    if len(finite) <= MAX_POINTS:
        return frozenset(finite)
    count = MAX_POINTS - 1
    spread = {finite[(j + 1) * len(finite) // count - 1] for j in range(count)}
    return frozenset(spread | {max(finite, key=lambda k: losses[k])})
