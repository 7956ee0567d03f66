"""What `engine.compile` makes of a step: `python -m tests.bench.compiled`.

The same steps with compiled layers and without, on the GPU if there is one. What the compiler itself takes,
at the first steps of a slot, is printed beside; from there on all its trials share what was compiled.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from spaces import exp4
from tests.bench.engine_overhead import planned
from tests.bench.mixes import Picked, dialogues, pick
from tests.bench.result import in_turn, print_result, result
from train_fn.command import run_command
from train_fn.config import TrainConfig
from train_fn.engine import Engine
from train_fn.layers import compile_layers
from train_fn.loop import join_group
from train_fn.loss import PackedLoss
from train_fn.model import BaseModel, fresh_model, load_base
from train_fn.precision import DTYPES, choose_precision, trial_device

STEPS, WARMUP = 8, 4
GOAL = 1.0


def made(base: BaseModel, config: TrainConfig, device: torch.device) -> Engine:
    """Return an engine as a trial has it."""
    precision, _ = choose_precision("auto", device)
    module = PackedLoss(fresh_model(base, config, DTYPES[precision], device))
    if config.engine.compile:
        compile_layers(module.model, device)
    return Engine(module, config, precision, device)


def seconds(engine: Engine, config: TrainConfig, examples: Picked, first: int, steps: int) -> float:
    """Take some steps; return their seconds, of the processor or of the clock while a GPU works."""
    gpu = engine.device.type == "cuda"
    clock = time.perf_counter if gpu else time.process_time
    began = clock()
    for number in range(first, first + steps):
        engine.step(examples, planned(examples, config, number), config.optim.objective, config.optim.lr)
    if gpu:
        torch.cuda.synchronize()
    return clock() - began


def main() -> int:
    """Run both sides in turn, print a table, and one JSON line last."""
    device = trial_device()
    torch.set_num_threads(1)
    join_group(device)
    config = exp4.experiment("laptop").base
    compiled = replace(config, engine=replace(config.engine, compile=True))
    base = load_base(config.model)
    with tempfile.TemporaryDirectory() as folder:
        prepared = dialogues(Path(folder), every=8).train
        examples = Picked(prepared, pick(prepared.lengths, "heavy"))
        mine, other = made(base, compiled, device), made(base, config, device)
        first = [seconds(engine, config, examples, 0, WARMUP) for engine in (mine, other)]
        pairs = in_turn(
            lambda: seconds(mine, config, examples, WARMUP, STEPS),
            lambda: seconds(other, config, examples, WARMUP, STEPS),
        )
    print(f"the first {WARMUP} steps: {first[0]:.1f} s compiled, {first[1]:.1f} s as it is, on {device}")
    print(f"{'compiled':>8} {'as it is':>8}   ms a step")
    for own, plain in pairs:
        print(f"{1e3 * own / STEPS:>8.1f} {1e3 * plain / STEPS:>8.1f}")
    print_result(result("compiled", [own / plain for own, plain in pairs], GOAL, "lower"))
    return 0


if __name__ == "__main__":
    run_command(main)
