"""Training speed beside the trainers people use: `python -m tests.bench.train_step`.

Real tokens of prompts and answers, without padding, for each second of processor time, over the same examples
of three length mixes: a whole trial of ours, TRL's `SFTTrainer` padded in random order, padded with length
grouping, and packed, and the `Trainer` of transformers on DeepSpeed. Each runs in a process of its own, on
one thread, in turn. tests/invariance shows that ours computes the losses of a plain loop. Needs the `bench`
extra.

A pass over thousands of examples takes too long here. So the order of a whole pass is made first, at random
or by the grouping of transformers itself, and every round takes some of its steps: the next ones in random
order, grouped ones evenly spread, because their lengths fall from step to step.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.trainer_pt_utils import get_length_grouped_indices

from search.cli import prepare_environment
from tests.bench import rivals, trial
from tests.bench.job import Job, Pace
from tests.bench.mixes import MIXES, POOL, Mix, dialogues, padding, pick
from tests.bench.result import ROUNDS, Result, print_result, result
from train_fn.command import run_command

BATCH, WARMUP, STEPS = 16, 1, 4
OURS, PADDED = "ours", "padded"


@dataclass(frozen=True)
class Side:
    """One that trains."""

    train: Callable[[Job], Pace]
    is_grouped: bool = False
    """Takes examples in groups of like length."""
    goal: float = 1.0
    """Our speed over this side's."""


SIDES = {
    OURS: Side(trial.ours),
    PADDED: Side(rivals.trl_padded, goal=3.0),
    "grouped": Side(rivals.trl_padded, is_grouped=True, goal=1.6),
    "packed": Side(rivals.trl_packed),
    "deepspeed": Side(rivals.deepspeed_padded, goal=3.0),
}
Speeds = dict[tuple[Mix, str], float]
"""Real tokens a second of processor time, of each side on each mix."""


def taken(order: NDArray[np.int64], is_grouped: bool, number: int, steps: int) -> NDArray[np.int64]:
    """Return the examples of a round: its warm-up steps, then the ones that are timed.

    Args:
        order: Of a whole pass.
        is_grouped: Whether like lengths stand together in it.
        number: Of the round.
        steps: Steps that are timed.
    """
    rows = order.reshape(-1, BATCH)
    if is_grouped:
        places = (np.arange(steps) * len(rows) // steps + number) % len(rows)
        return np.concatenate([rows[:WARMUP], rows[places]]).reshape(-1)
    start = number * (WARMUP + steps)
    return rows[start : start + WARMUP + steps].reshape(-1)


def grouped(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the order of a pass as the length grouping of transformers makes it."""
    generator = torch.Generator().manual_seed(0)
    return np.array(get_length_grouped_indices(lengths.tolist(), BATCH, generator=generator))


@contextmanager
def process() -> Iterator[ProcessPoolExecutor]:
    """Give a process that trains on one thread and stays until the end."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def measure(folder: Path, steps: int) -> list[Speeds]:
    """Run all sides in turn over all mixes, in as many rounds as every benchmark has."""
    prepared = dialogues(folder)
    lengths = prepared.train.lengths
    pools = {mix: pick(lengths, mix) for mix in MIXES}
    orders = {mix: (np.arange(POOL), grouped(lengths[numbers])) for mix, numbers in pools.items()}
    rounds = []
    with ExitStack() as stack:
        processes = {name: stack.enter_context(process()) for name in SIDES}
        for number in range(ROUNDS):
            speeds: Speeds = {}
            for mix, numbers in pools.items():
                for name, side in list(SIDES.items())[:: -1 if number % 2 else 1]:
                    order = orders[mix][side.is_grouped]
                    examples = numbers[taken(order, side.is_grouped, number, steps)]
                    job = Job(prepared.folder, tuple(examples.tolist()), BATCH, WARMUP, steps)
                    pace = processes[name].submit(side.train, job).result()
                    speeds[mix, name] = pace.tokens / pace.seconds
                own = ", ".join(f"{name} {speeds[mix, name]:,.0f}" for name in SIDES)
                print(f"round {number + 1}, {mix}: {own} tokens a second", flush=True)
            rounds.append(speeds)
    for mix, numbers in pools.items():
        shares = ", ".join(
            f"{padding(lengths[numbers], batch):.0%} of a batch of {batch}" for batch in (8, 32)
        )
        print(f"{mix}: {MIXES[mix]}; padding is {shares}")
    return rounds


def compared(rounds: list[Speeds], name: str) -> Result:
    """Sum up our speed over a side's: the median over the mixes in every round."""
    runs = [statistics.median(speeds[mix, OURS] / speeds[mix, name] for mix in MIXES) for speeds in rounds]
    full = "train_step" if name == PADDED else f"train_step_{name}"
    return result(full, runs, SIDES[name].goal, "higher")


def show(rounds: list[Speeds]) -> None:
    """Print the median speeds, and ours over each."""
    print(f"{'mix':<10}" + "".join(f"{name:>18}" for name in SIDES) + "   tokens a second (ours over it)")
    for mix in MIXES:
        cells = []
        for name in SIDES:
            speed = statistics.median(speeds[mix, name] for speeds in rounds)
            ratio = statistics.median(speeds[mix, OURS] / speeds[mix, name] for speeds in rounds)
            cells.append(f"{speed:>10,.0f} ({ratio:>4.2f}x)")
        print(f"{mix:<10}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> int:
    """Run all sides, print tables, and one JSON line for each rival, the padded one last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the steps in each round")
    steps = STEPS // 4 if parser.parse_args().quick else STEPS
    prepare_environment()
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read by the processes that train
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        rounds = measure(Path(folder), steps)
    show(rounds)
    for name in ("grouped", "packed", "deepspeed", PADDED):
        print_result(compared(rounds, name))
    return 0


if __name__ == "__main__":
    run_command(main)
