"""What an optimizer step costs beyond PyTorch: `python -m tests.bench.engine_overhead`.

Ours plans, packs and takes each step through DeepSpeed. Theirs is a bare loop of forward, backward, clipping
and fused AdamW over the very same packed tensors, which lie ready. Both begin with the same weights, and
their losses must agree. Times are of the processor, see `tests.bench.job`.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from spaces import exp4
from tests.bench.alone import CPU, alone
from tests.bench.mixes import Picked, dialogues, pick
from tests.bench.result import in_turn, print_result, result
from train_fn.batches import StepPlan, build_micro_batch, plan_step
from train_fn.command import run_command
from train_fn.config import TrainConfig
from train_fn.engine import Engine
from train_fn.loss import PackedLoss, inputs_on
from train_fn.model import BaseModel, fresh_model, load_base

STEPS, WARMUP = 8, 1
GOAL = 1.08


def planned(examples: Picked, config: TrainConfig, step: int) -> StepPlan:
    """Return the plan of a step."""
    size, room = config.optim.effective_batch_size, config.engine.max_tokens_per_micro_batch
    chosen = np.arange(step * size, (step + 1) * size)
    return plan_step(examples, chosen, config.optim.objective, 0, 1, room)


def timed(step: Callable[[int], torch.Tensor], losses: list[float]) -> float:
    """Return the seconds of all steps after the first few; the loss of each is added to `losses`."""
    for number in range(WARMUP):
        losses.append(float(step(number)))
    began = time.process_time()
    taken = [step(number) for number in range(WARMUP, WARMUP + STEPS)]
    seconds = time.process_time() - began
    losses += [float(loss) for loss in taken]
    return seconds


def ours(base: BaseModel, config: TrainConfig, examples: Picked, losses: list[float]) -> float:
    """Take the steps as a trial does and return their seconds."""
    engine = Engine(PackedLoss(fresh_model(base, config, torch.float32)), config, "fp32", CPU)
    optim = config.optim

    def step(number: int) -> torch.Tensor:
        plan = planned(examples, config, number)
        return engine.step(examples, plan, optim.objective, optim.lr).loss

    seconds = timed(step, losses)
    engine.destroy()
    return seconds


def theirs(base: BaseModel, config: TrainConfig, examples: Picked, losses: list[float]) -> float:
    """Take the steps in a bare loop and return their seconds."""
    module, optim = PackedLoss(fresh_model(base, config, torch.float32)), config.optim
    parameters = list(module.parameters())
    adam = torch.optim.AdamW(
        parameters,
        lr=optim.lr,
        betas=(optim.beta1, optim.beta2),
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        fused=True,
    )
    plans = [planned(examples, config, number) for number in range(WARMUP + STEPS)]
    ready = [
        [
            inputs_on(build_micro_batch(examples, members, optim.objective, plan), CPU)
            | {"head_chunks": chunks}
            for members, chunks in zip(plan.micro_batches, plan.head_chunks, strict=True)
        ]
        for plan in plans
    ]

    def step(number: int) -> torch.Tensor:
        loss = torch.zeros(())
        for inputs in ready[number]:
            part = module(**inputs)
            part.backward()
            loss += part.detach()
        nn.utils.clip_grad_norm_(parameters, optim.clip_norm)
        adam.step()
        adam.zero_grad()
        return loss

    return timed(step, losses)


def main() -> int:
    """Run both sides in turn, print a table, and one JSON line last."""
    alone()
    config = exp4.experiment("laptop").base
    base = load_base(config.model)
    with tempfile.TemporaryDirectory() as folder:
        prepared = dialogues(Path(folder), every=8).train
        examples = Picked(prepared, pick(prepared.lengths, "heavy"))
        mine: list[float] = []
        others: list[float] = []
        pairs = in_turn(
            lambda: ours(base, config, examples, mine), lambda: theirs(base, config, examples, others)
        )
    np.testing.assert_allclose(mine, others, rtol=1e-3)
    print(f"{'ours':>8} {'bare':>8}   ms a step")
    for own, other in pairs:
        print(f"{1e3 * own / STEPS:>8.1f} {1e3 * other / STEPS:>8.1f}")
    print_result(result("engine_overhead", [own / other for own, other in pairs], GOAL, "lower"))
    return 0


if __name__ == "__main__":
    run_command(main)
