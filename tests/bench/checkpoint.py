"""For how long a checkpoint stops the training: `python -m tests.bench.checkpoint`.

Ours notes what the state is and starts the thread that copies and writes it; it counts until the training
goes on, and then for how long the update of the next step waits for the copies. Theirs is DeepSpeed's own
`save_checkpoint`, which returns when the files are written. Neither waits for the disk in that time: ours
forces the files down on its thread, theirs leaves them to the system. The steps are those of the laptop
profile. The ratio is that of the bundled model; one of 100M parameters follows as `checkpoint_100m`.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import GPTNeoXConfig

from spaces import exp4
from spaces.paths import replace_all
from tests.bench.alone import CPU, alone
from tests.bench.result import Result, in_turn, print_result, result
from tests.toys import toy_examples
from train_fn.batches import Examples, plan_step
from train_fn.checkpoint import state_files
from train_fn.checkpoint_writer import POLL_S, CheckpointWriter
from train_fn.command import run_command
from train_fn.config import TrainConfig
from train_fn.engine import Engine
from train_fn.loss import PackedLoss
from train_fn.model import BaseModel, fresh_model, load_base

GOAL = 0.10
SAVES = 9
"""Of the bundled model in each round: each takes milliseconds."""
LONGEST = 64
"""Tokens of an example; the replies of chitchat are about as long."""
WIDER = {
    "vocab_size": 20_480,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}
"""101M parameters: 1.2 GB of weights and moments in fp32."""


Take = Callable[[], object]
"""Takes an optimizer step."""


def ours(engine: Engine, step: Take) -> tuple[float, float]:
    """Save as a trial does; return the seconds for which it stands still, and those until all is written."""
    with tempfile.TemporaryDirectory() as workspace:
        writer = CheckpointWriter(Path(workspace), 0, 1)
        engine.may_update, waited = writer.copied, engine.waited_s
        began = time.perf_counter()
        writer.start(1, state_files(engine, {}))
        stall = time.perf_counter() - began
        step()
        while writer.busy:
            time.sleep(POLL_S)
        whole = time.perf_counter() - began
    assert writer.problem is None, writer.problem
    return stall + engine.waited_s - waited, whole


def theirs(engine: Engine) -> float:
    """Save as DeepSpeed does by itself, in line; return the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        engine.deepspeed.save_checkpoint(folder, tag="state")
        return time.perf_counter() - began


def stepped(config: TrainConfig, base: BaseModel, examples: Examples) -> tuple[Engine, Take]:
    """Return an engine that has taken a step, so that Adam's moments are there, and what takes one more."""
    engine = Engine(PackedLoss(fresh_model(base, config, torch.float32)), config, "fp32", CPU)
    chosen = np.arange(config.optim.effective_batch_size)
    plan = plan_step(examples, chosen, "response", 0, 1, config.engine.max_tokens_per_micro_batch)

    def step() -> object:
        return engine.step(examples, plan, "response", config.optim.lr)

    step()
    return engine, step


def compared(name: str, config: TrainConfig, base: BaseModel, examples: Examples, saves: int) -> Result:
    """Run both sides in turn, take the median of some saves in each round, and print a line for it."""
    (mine, step), (other, _) = stepped(config, base, examples), stepped(config, base, examples)
    ours(mine, step)  # the first save of a process loads code
    theirs(other)
    wholes: list[float] = []

    def stall() -> float:
        taken = sorted(ours(mine, step) for _ in range(saves))
        seconds, whole = taken[saves // 2]
        wholes.append(whole)
        return seconds

    pairs = in_turn(stall, lambda: statistics.median(theirs(other) for _ in range(saves)))
    mine.destroy()
    other.destroy()
    for (still, line), whole in zip(pairs, wholes, strict=True):
        print(
            f"{base.parameters / 1e6:>9.1f}M {1e3 * still:>10.1f} {1e3 * whole:>10.1f} {1e3 * line:>10.1f}",
            flush=True,
        )
    return result(name, [still / line for still, line in pairs], GOAL, "lower")


def wider(folder: Path, config: TrainConfig) -> tuple[TrainConfig, BaseModel]:
    """Return a random model of 100M parameters, and the configuration that trains it."""
    GPTNeoXConfig(**WIDER).save_pretrained(folder)
    config = replace_all(config, {"model.path": str(folder), "model.init": "random"})
    return config, load_base(config.model)


def main() -> int:
    """Run both sides in turn for both models, print a table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the bundled model alone")
    quick = parser.parse_args().quick
    alone()
    config = exp4.experiment("laptop").base
    print(f"{'model':>10} {'ours':>10} {'complete':>10} {'in line':>10}   ms")
    with tempfile.TemporaryDirectory() as folder:
        examples = toy_examples(config.optim.effective_batch_size, longest=LONGEST)
        found = compared("checkpoint", config, load_base(config.model), examples, SAVES)
        if not quick:
            print_result(compared("checkpoint_100m", *wider(Path(folder) / "wider", config), examples, 1))
    print_result(found)
    return 0


if __name__ == "__main__":
    run_command(main)
