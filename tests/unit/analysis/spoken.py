"""Real dialogue for the bundled model: exchanges of the bundled chitchat, as the laptop search has them."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from analysis.held_out import Pair
from spaces.load import load_experiment
from train_fn import formats, sources
from train_fn.formats import Conversation, Example
from train_fn.tokenizer import tokenise


def chitchat(every: int = 40) -> Iterator[Example]:
    """One example of every so many conversations, in the prompt format of the search."""
    data = load_experiment("exp4", "laptop").base.data
    for number, row in enumerate(sources.read(data)):
        if number % every == 0 and isinstance(row, Conversation):
            yield from islice(formats.examples(row, data.prompt_format, data.max_context_turns), 1, 2)


def bundled_pairs(tokenizer: Any, count: int = 24) -> tuple[Pair, ...]:
    """Exchanges as token ids."""
    some = list(islice(chitchat(), count))
    found = tokenise(some, tokenizer, "pygmalion")
    return tuple(
        Pair(
            example.id,
            np.array(one.ids[: one.prompt_length], np.int32),
            np.array(one.ids[one.prompt_length :], np.int32),
            number,
        )
        for number, (example, one) in enumerate(zip(some, found, strict=True))
    )
