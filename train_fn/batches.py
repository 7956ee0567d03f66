"""From an endless seeded order of examples to the micro-batches of one optimizer step.

Everything here is a pure function of the lengths of the examples, so every rank computes the whole plan and
no rank has to ask another. Nothing here imports torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from train_fn.config import Objective, check

HEAD_CHUNK_TOKENS = 2048
"""Loss positions whose logits exist at the same time."""


class Examples(Protocol):
    """Tokenised examples: prompt, then answer with its EOS."""

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of prompt and answer, shape [n]."""

    @property
    def prompt_lengths(self) -> NDArray[np.int32]:
        """Tokens of the prompt, shape [n]."""

    @property
    def sources(self) -> NDArray[np.int16]:
        """Index of the source in `data.sources`, shape [n]."""

    @property
    def conversations(self) -> NDArray[np.int32]:
        """A number for the conversation of each example, shape [n]."""

    def tokens(self, i: int) -> NDArray[np.int32]:
        """Return the tokens of example `i`, shape [lengths[i]]."""

    def __len__(self) -> int: ...


class Order:
    """The endless order of training examples: seeded epochs, one after the other.

    Args:
        sources: Source index of each example, shape [n].
        weights: How often an epoch takes each source; empty is once. The fraction of a weight takes that
            fraction of the source, another seeded choice in each epoch.
        seed: Seed of all epochs.

    Raises:
        InputError: The weights take no example.
    """

    def __init__(self, sources: NDArray[np.int16], weights: Sequence[float], seed: int) -> None:
        self._seed = seed
        self._members = [np.flatnonzero(sources == s) for s in np.unique(sources)]
        self._weights = [weights[s] if weights else 1.0 for s in np.unique(sources)]
        self.epoch_length = sum(_copies(w, len(m)) for w, m in zip(self._weights, self._members, strict=True))
        rule, fix = "takes no example of any source in an epoch", "raise it, or leave it empty"
        check(self.epoch_length > 0, "data.weights", tuple(weights), rule, fix)
        self._cached = (-1, np.empty(0, np.int64))

    def take(self, start: int, count: int) -> NDArray[np.int64]:
        """Return the examples at places `start` to `start + count - 1` of the order, shape [count]."""
        taken: list[NDArray[np.int64]] = []
        while count > 0:
            epoch, offset = divmod(start, self.epoch_length)
            part = self._epoch(epoch)[offset : offset + count]
            taken.append(part)
            start, count = start + len(part), count - len(part)
        return np.concatenate(taken)

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        if self._cached[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            parts: list[NDArray[np.int64]] = []
            for weight, members in zip(self._weights, self._members, strict=True):
                parts += [members] * int(weight)
                rest = _copies(weight, len(members)) - int(weight) * len(members)
                parts.append(rng.choice(members, rest, replace=False))
            self._cached = (epoch, rng.permutation(np.concatenate(parts)))
        return self._cached[1]


def _copies(weight: float, members: int) -> int:
    return int(weight) * members + round((weight - int(weight)) * members)


@dataclass(frozen=True)
class StepPlan:
    """One optimizer step as one rank sees it. The counts are over all ranks."""

    tokens: int
    prompt_targets: int
    """Predicted prompt tokens (the first token of an example is never predicted)."""
    answer_targets: int
    micro_batches: tuple[tuple[int, ...], ...]
    """Example numbers of each micro-batch of this rank; all ranks have the same number, some may be empty."""
    head_chunks: tuple[int, ...]
    """Calls of the language-model head for each micro-batch; the same on all ranks, as ZeRO-3 gathers it."""


def plan_step(
    examples: Examples,
    chosen: NDArray[np.int64],
    objective: Objective,
    rank: int,
    ranks: int,
    max_tokens: int,
) -> StepPlan:
    """Share the `chosen` examples over the ranks, balanced by tokens, and pack each share.

    Args:
        examples: All examples.
        chosen: Numbers of the step's examples, shape [effective batch size]; repeats are allowed.
        objective: Which tokens the loss looks at.
        rank: The rank that asks.
        ranks: World size.
        max_tokens: Most tokens of a micro-batch; no example is longer.
    """
    lengths = examples.lengths[chosen].astype(np.int64)
    prompts = np.minimum(examples.prompt_lengths[chosen].astype(np.int64), lengths)
    packed = [[share[box] for box in pack(lengths[share], max_tokens)] for share in balance(lengths, ranks)]
    rounds = max(len(boxes) for boxes in packed)
    for boxes in packed:
        boxes += [np.empty(0, np.int64)] * (rounds - len(boxes))
    firsts = 1 if objective != "response" else np.maximum(examples.prompt_lengths[chosen], 1)
    looked_at = lengths - firsts
    widest = [max(int(looked_at[boxes[j]].sum()) for boxes in packed) for j in range(rounds)]
    return StepPlan(
        tokens=int(lengths.sum()),
        prompt_targets=int(np.maximum(prompts - 1, 0).sum()),
        answer_targets=int((lengths - np.maximum(prompts, 1)).sum()),
        micro_batches=tuple(tuple(chosen[box].tolist()) for box in packed[rank]),
        head_chunks=tuple(max(-(-w // HEAD_CHUNK_TOKENS), 1) for w in widest),
    )


def balance(lengths: NDArray[np.int64], ranks: int) -> list[NDArray[np.int64]]:
    """Split positions 0..n-1 into `ranks` shares of nearly equal token sums.

    Longest processing time first (Graham 1969, doi:10.1137/0117039): at most 4/3 of the best split.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for k in np.argsort(-lengths, kind="stable"):
        lightest = loads.index(min(loads))
        shares[lightest].append(int(k))
        loads[lightest] += int(lengths[k])
    return [np.array(share, dtype=np.int64) for share in shares]


def pack(lengths: NDArray[np.int64], max_tokens: int) -> list[list[int]]:
    """Pack positions 0..n-1 into boxes of at most `max_tokens`; longest first inside a box.

    First-fit decreasing (Johnson 1973): at most 11/9 of the fewest boxes, plus one. When an even split over
    that many boxes fits as well, it is taken, so that no micro-batch is a small left-over.
    """
    boxes: list[list[int]] = []
    room: list[int] = []
    for k in np.argsort(-lengths, kind="stable"):
        size = int(lengths[k])
        assert size <= max_tokens, f"an example of {size} tokens does not fit {max_tokens}"
        box = next((b for b, left in enumerate(room) if left >= size), None)
        if box is None:
            boxes.append([])
            room.append(max_tokens)
            box = len(boxes) - 1
        boxes[box].append(int(k))
        room[box] -= size
    even = balance(lengths, len(boxes)) if boxes else []
    if all(int(lengths[share].sum()) <= max_tokens for share in even):
        return [share.tolist() for share in even]
    return boxes


@dataclass(frozen=True)
class MicroBatch:
    """Packed examples in one row of T tokens with K loss positions. An empty one has a single idle token."""

    tokens: NDArray[np.int64]
    """Shape [T]."""
    positions: NDArray[np.int64]
    """Place within its own example, shape [T]."""
    starts: NDArray[np.int32]
    """Where each example starts, then T; shape [examples + 1]."""
    loss_positions: NDArray[np.int64]
    """Places whose hidden state predicts a target, shape [K]."""
    targets: NDArray[np.int64]
    """The token that follows each loss position, shape [K]."""
    weights: NDArray[np.float32]
    """What each token loss counts in the step's loss, shape [K]."""
    owners: NDArray[np.int64]
    """Number of the example each loss position belongs to, shape [K]."""


def build_micro_batch(
    examples: Examples, members: Sequence[int], objective: Objective, plan: StepPlan
) -> MicroBatch:
    """Lay the examples `members` end to end and weigh their token losses.

    The step's loss is the sum of weight times token loss over all micro-batches of all ranks: `response`
    and `clm` weigh each token by 1 / (their tokens in the step); `balanced` is the mean over prompt tokens
    and the mean over answer tokens, averaged.
    """
    if not members:
        zero = np.zeros(1, np.int64)
        return MicroBatch(zero, zero, np.array([0, 1], np.int32), zero, zero, np.zeros(1, np.float32), zero)
    rows = [examples.tokens(i) for i in members]
    lengths = np.array([len(row) for row in rows], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.concatenate(rows).astype(np.int64)
    positions = np.arange(len(tokens)) - np.repeat(starts[:-1], lengths)
    prompts = np.repeat(examples.prompt_lengths[list(members)].astype(np.int64), lengths)
    prompt_weight, answer_weight = _token_weights(objective, plan)
    weights = np.where(positions >= prompts, answer_weight, prompt_weight)
    wanted = np.flatnonzero((positions > 0) & (weights > 0))
    if len(wanted) == 0:  # keeps the head in the graph, so that collectives match
        wanted, weights = np.array([0]), np.zeros(1)
    owners = np.repeat(np.array(members, np.int64), lengths)
    return MicroBatch(
        tokens=tokens,
        positions=positions,
        starts=starts.astype(np.int32),
        loss_positions=np.maximum(wanted - 1, 0),
        targets=tokens[wanted],
        weights=weights[wanted].astype(np.float32),
        owners=owners[wanted],
    )


def _token_weights(objective: Objective, plan: StepPlan) -> tuple[float, float]:
    prompt, answer = max(plan.prompt_targets, 1), max(plan.answer_targets, 1)
    if objective == "response":
        return 0.0, 1 / answer
    if objective == "clm":
        every = 1 / max(plan.prompt_targets + plan.answer_targets, 1)
        return every, every
    if plan.prompt_targets == 0:  # nothing but answers: their mean is the loss
        return 0.0, 1 / answer
    return 0.5 / prompt, 0.5 / answer
