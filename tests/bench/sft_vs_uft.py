"""A pass of supervised against one of unsupervised fine-tuning: `python -m tests.bench.sft_vs_uft`.

The same trial over the same examples, once as `exp4` trains it (the loss looks at answers alone) and once as
`exp3` does (at all tokens). Prompts cost no logits, so a supervised pass must not take longer. The logbook of
2023-01-14 found it four times slower.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from spaces import exp3, exp4
from spaces.paths import replace_all
from tests.bench.alone import alone
from tests.bench.mixes import Data, Picked, dialogues, pick
from tests.bench.result import in_turn, print_result, result
from tests.bench.trial import trained
from train_fn.command import run_command
from train_fn.config import TrainConfig
from train_fn.model import BaseModel, load_base

STEPS, WARMUP = 12, 2
GOAL = 1.0


def seconds(config: TrainConfig, base: BaseModel, data: Data) -> float:
    """Return what a pass over the examples takes."""
    return trained(config, base, data, WARMUP).seconds


def main() -> int:
    """Run both sides in turn, print a table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the steps in each round")
    steps = STEPS // 3 if parser.parse_args().quick else STEPS
    alone()
    longest = {"data.max_example_tokens": 512}
    sft = replace_all(exp4.experiment("laptop").base, longest)
    uft = replace_all(exp3.experiment("laptop").base, longest)
    base = load_base(sft.model)
    with tempfile.TemporaryDirectory() as folder:
        prepared = dialogues(Path(folder), every=8)
        size = sft.optim.effective_batch_size
        numbers = pick(prepared.train.lengths, "chitchat", count=size * (steps + WARMUP))
        data = Data(Picked(prepared.train, numbers), Picked(prepared.eval, np.arange(2)))
        pairs = in_turn(lambda: seconds(sft, base, data), lambda: seconds(uft, base, data))
    print(f"{'exp4':>8} {'exp3':>8}   seconds a pass of {size * steps} examples")
    for mine, other in pairs:
        print(f"{mine:>8.2f} {other:>8.2f}")
    print_result(result("sft_vs_uft", [mine / other for mine, other in pairs], GOAL, "lower"))
    return 0


if __name__ == "__main__":
    run_command(main)
