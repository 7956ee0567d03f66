"""The held-out examples of a search as token ids, and as many of those it trained on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.records import SearchRecord
from train_fn.errors import InputError
from train_fn.prepared import Split, open_prepared
from train_fn.working_copy import fetch_folder

DATA = "data"
"""Folder in the storage folder that holds prepared data by its hash."""
_SAMPLE = 1_977
"""Names the stream of random numbers that the sample is drawn from."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A prompt with its true reply."""

    id: str
    """Where the example stood, such as `train.jsonl:12#3`."""
    prompt: NDArray[np.int32]
    """Token ids, with the BOS token where the tokenizer writes one."""
    reply: NDArray[np.int32]
    """Token ids, the end token last."""
    conversation: int
    """A number for the conversation that it is of, among those on its side of the split."""


@dataclass(frozen=True)
class HeldOut:
    """What models are listened to and judged on."""

    pairs: tuple[Pair, ...]
    """The held-out examples, in the order of every evaluation of the search."""
    trained: tuple[Pair, ...]
    """A sample of the training examples, as many as there are held-out ones where there are so many."""


def read_held_out(search: SearchRecord, storage: Path, seed: int = 0) -> HeldOut:
    """Read the held-out examples of a search, and a sample of its training examples.

    Args:
        search: Names the data by its hash.
        storage: The storage folder; prepared data lies in `data/<hash>` below it.
        seed: Of the sample.

    Raises:
        InputError: The prepared data is no longer there, or the store does not give it.
    """
    folder = storage / DATA / search.data_key
    if not folder.is_dir():
        fetch_folder(folder)
    prepared = open_prepared(folder)
    try:
        train, held_out = prepared.train, prepared.eval
        # Another stream than that of the training order, whose beginning a trial saw first.
        dice = np.random.default_rng([_SAMPLE, seed])
        chosen = dice.permutation(len(train))[: len(held_out)]
        return HeldOut(_pairs(held_out, range(len(held_out))), _pairs(train, sorted(chosen.tolist())))
    except (OSError, ValueError, KeyError) as error:
        why = type(error).__name__
        raise InputError(
            f"the prepared data of {search.name} cannot be read from {folder} ({why}); copy it back, or run "
            f"`python -m search.data {search.name}` with the --storage and --set of the search"
        ) from error


def _pairs(split: Split, indices: Iterable[int]) -> tuple[Pair, ...]:
    ids, borders, conversations = split.ids, split.prompt_lengths, split.conversations
    return tuple(
        Pair(ids[i], split.tokens(i)[: borders[i]], split.tokens(i)[borders[i] :], int(conversations[i]))
        for i in indices
    )
