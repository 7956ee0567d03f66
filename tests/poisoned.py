"""Toys of which one token has an embedding that is not a number, and few examples hold that token."""

from collections.abc import Collection

import torch

from tests.toys import VOCABULARY, ToyExamples, ToyPrepared, toy_base, toy_prepared
from train_fn.model import BaseModel

POISON = VOCABULARY - 1


def poisoned_base(value: float = float("nan")) -> BaseModel:
    """A model in which the embedding of `POISON` is `value`; its head is sound."""
    base = toy_base()
    with torch.no_grad():
        base.state["gpt_neox.embed_in.weight"][POISON] = value
    return base


def poisoned_prepared(culprits: Collection[int]) -> ToyPrepared:
    """Toys in which the training examples `culprits` alone hold `POISON`, as the first token."""
    toys = toy_prepared()
    return ToyPrepared(_cleared(toys.train, culprits), _cleared(toys.eval, ()))


def _cleared(examples: ToyExamples, culprits: Collection[int]) -> ToyExamples:
    rows = []
    for number, row in enumerate(examples.rows):
        cleared = row.clip(max=POISON - 1)
        if number in culprits:
            cleared[0] = POISON
        rows.append(cleared)
    return ToyExamples(tuple(rows), examples.prompt_lengths, examples.sources)
