"""Divide examples into training and held-out ones, by conversation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from train_fn.formats import Example


@dataclass(frozen=True)
class Sides:
    """Indices into the examples that were split."""

    train: list[int]
    eval: list[int]
    unused: list[int]
    """Of held-out conversations, beyond what the evaluation takes: they must not be trained on either."""


def split(examples: Sequence[Example], eval_fraction: float, max_eval_examples: int, seed: int) -> Sides:
    """Hold out whole conversations, chosen by a seeded hash of what is said in them.

    The hash does not depend on the order or number of the other examples, so more data moves no conversation
    to the other side. When no hash falls below the fraction, the conversation with the lowest is held out.

    Args:
        examples: What to split.
        eval_fraction: Share of conversations to hold out, in (0, 0.5).
        max_eval_examples: Held-out examples that are evaluated; the rest of their conversations is unused.
        seed: Another seed gives another split.
    """
    chances = {group: _chance(group, seed) for group in {example.group for example in examples}}
    held = {group for group, chance in chances.items() if chance < eval_fraction}
    if not held and len(chances) > 1:
        held = {min(chances, key=lambda group: (chances[group], group))}
    inside = [i for i, example in enumerate(examples) if example.group in held]
    by_chance = sorted(inside, key=lambda i: (_chance(f"{examples[i].group} {examples[i].id}", seed), i))
    return Sides(
        train=[i for i, example in enumerate(examples) if example.group not in held],
        eval=sorted(by_chance[:max_eval_examples]),
        unused=sorted(by_chance[max_eval_examples:]),
    )


def _chance(text: str, seed: int) -> float:
    """Return a number in [0, 1) that text and seed decide."""
    digest = hashlib.blake2b(f"{seed} {text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
