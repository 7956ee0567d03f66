"""Preparing the data against tokenising it: `python -m tests.bench.prepare`.

Ours reads, cleans, looks for duplicates, tokenises, splits, writes, and plans a pass of steps. Theirs is
`datasets.map` with the same tokenizer, in batches and one process, over the same texts: prompts and replies
of everything that is read. Both are seconds of processor time, see `tests.bench.job`.

The data is one in 32 of the bundled chats, prepared as the `exp4` of the cluster does it, with all turns
before each reply; the laptop's two turns follow as `prepare_laptop`. `prepare_again` is the cluster's a
second time, as in every later command, in seconds of the clock.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from search.cli import prepare_environment
from spaces import exp4
from spaces.experiment import Profile
from tests.bench.chats import write_chats
from tests.bench.result import in_turn, print_result, result
from train_fn import sources
from train_fn.batches import plan_step
from train_fn.command import run_command
from train_fn.config import TrainConfig
from train_fn.formats import Conversation, examples
from train_fn.prepare import prepare
from train_fn.tokenizer import load_tokenizer, tokenizer_key

GOAL, AGAIN_S = 0.6, 2.0
EVERY = 32


def texts(config: TrainConfig) -> datasets.Dataset:
    """Return prompt and reply of every reply in the sources, as columns in memory."""
    data = config.data
    read = [
        example
        for row in sources.read(data)
        if isinstance(row, Conversation)
        for example in examples(row, data.prompt_format, data.max_context_turns)
    ]
    return datasets.Dataset.from_dict(
        {"prompt": [example.prompt for example in read], "reply": [example.reply for example in read]}
    )


def ours(config: TrainConfig, storage: Path, clock: Callable[[], float] = time.process_time) -> float:
    """Prepare the data and plan one pass over it; return the seconds of the clock."""
    began = clock()
    data = prepare(config.data, lambda: load_tokenizer("bundled"), tokenizer_key("bundled"), storage).train
    size, room = config.optim.effective_batch_size, config.engine.max_tokens_per_micro_batch
    for start in range(0, len(data), size):
        chosen = np.arange(start, min(start + size, len(data)))
        plan_step(data, chosen, config.optim.objective, 0, 1, room)
    return clock() - began


def theirs(read: datasets.Dataset) -> float:
    """Tokenise the same texts with `datasets.map`; return the seconds of processor time."""
    began = time.process_time()
    tokenizer = load_tokenizer("bundled")

    def tokenise(batch: dict[str, Any]) -> dict[str, Any]:
        prompts = tokenizer(batch["prompt"], add_special_tokens=False).input_ids
        replies = tokenizer(batch["reply"], add_special_tokens=False).input_ids
        return {"prompt_ids": prompts, "reply_ids": replies}

    read.map(tokenise, batched=True, remove_columns=read.column_names, load_from_cache_file=False)
    return time.process_time() - began


def compared(profile: Profile, file: Path) -> tuple[list[float], list[float]]:
    """Run both sides in turn and print a line for each round.

    Returns:
        The ratios, and the seconds of our second starts.
    """
    base = exp4.experiment(profile).base
    config = replace(base, data=replace(base.data, sources=(str(file),)))
    read = texts(config)
    again: list[float] = []

    def mine() -> float:
        with tempfile.TemporaryDirectory() as storage:
            seconds = ours(config, Path(storage))
            again.append(ours(config, Path(storage), time.perf_counter))
        return seconds

    pairs = in_turn(mine, lambda: theirs(read))
    for (own, other), second in zip(pairs, again, strict=True):
        print(f"{profile:<8} {len(read):>8,} {own:>8.2f} {second:>8.2f} {other:>8.2f}", flush=True)
    return [own / other for own, other in pairs], again


def main() -> int:
    """Run both sides for both profiles, print a table, and the JSON lines last."""
    prepare_environment()  # no threads in the tokenizer, on either side
    datasets.disable_progress_bars()
    print(f"{'profile':<8} {'replies':>8} {'ours':>8} {'again':>8} {'map':>8}   seconds")
    with tempfile.TemporaryDirectory() as folder:
        file = write_chats(Path(folder) / "chats.jsonl", EVERY)
        few, _ = compared("laptop", file)
        ratios, again = compared("cluster", file)
    print_result(result("prepare_laptop", few, GOAL, "lower"))
    print_result(result("prepare_again", again, AGAIN_S, "lower"))
    print_result(result("prepare", ratios, GOAL, "lower"))
    return 0


if __name__ == "__main__":
    run_command(main)
