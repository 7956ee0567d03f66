"""Examples whose lengths follow three mixes, taken from the bundled dialogues.

How much padding a batch needs depends on how its lengths differ, so a training speed holds for one mix only.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.bench.chats import write_chats
from train_fn.batches import Examples
from train_fn.config import CleanConfig, DataConfig
from train_fn.prepare import prepare
from train_fn.prepared import Prepared
from train_fn.tokenizer import load_tokenizer, tokenizer_key

Mix = Literal["chitchat", "short", "heavy"]
MIXES: dict[Mix, str] = {
    "chitchat": "as they come, each reply with all turns before it, up to 512 tokens",
    "short": "evenly between 16 and 48 tokens",
    "heavy": "most below 50 tokens, some of 512 (Pareto, shape 1.1)",
}
LONGEST = 512
POOL = 6400
"""Examples of a mix: what the length grouping of transformers sorts at a time, four times over."""


@dataclass(frozen=True)
class Picked:
    """Some of the prepared examples, in an order of their own; fits `train_fn.batches.Examples`."""

    examples: Examples
    numbers: NDArray[np.int64]

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        return self.examples.lengths[self.numbers]

    @cached_property
    def prompt_lengths(self) -> NDArray[np.int32]:
        return self.examples.prompt_lengths[self.numbers]

    @cached_property
    def sources(self) -> NDArray[np.int16]:
        return self.examples.sources[self.numbers]

    @cached_property
    def conversations(self) -> NDArray[np.int32]:
        return self.examples.conversations[self.numbers]

    def tokens(self, i: int) -> NDArray[np.int32]:
        return self.examples.tokens(int(self.numbers[i]))

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Data:
    """What `train_fn.loop.train` reads of prepared data."""

    train: Picked
    eval: Picked


def dialogues(folder: Path, every: int = 1) -> Prepared:
    """Prepare each `every`th of the bundled human chats, with all turns before each reply."""
    chats = write_chats(folder / "chats.jsonl", every)
    clean = CleanConfig(languages=(), near_duplicates=False)
    config = DataConfig(sources=(str(chats),), max_example_tokens=LONGEST, clean=clean)
    return prepare(config, lambda: load_tokenizer("bundled"), tokenizer_key("bundled"), folder)


def pick(lengths: NDArray[np.int32], mix: Mix, seed: int = 0, count: int = POOL) -> NDArray[np.int64]:
    """Return numbers of examples whose lengths follow a mix, in random order, shape [count]."""
    dice = np.random.default_rng(seed)
    if mix == "chitchat":
        return dice.choice(len(lengths), count, replace=False)
    if mix == "short":
        wanted = dice.integers(16, 49, count)
    else:
        wanted = np.minimum(16 * (1 + dice.pareto(1.1, count)), lengths.max()).astype(np.int64)
    by_length = np.argsort(lengths, kind="stable")
    first = np.searchsorted(lengths[by_length], wanted, side="left")
    behind = np.searchsorted(lengths[by_length], wanted, side="right")
    return by_length[dice.integers(first, np.maximum(behind, first + 1))]


def padding(lengths: NDArray[np.int32], batch: int) -> float:
    """Return the share of padding when batches of this order are padded to their longest example."""
    rows = lengths[: len(lengths) // batch * batch].reshape(-1, batch)
    return 1 - float(rows.sum()) / float((rows.max(axis=1) * batch).sum())
