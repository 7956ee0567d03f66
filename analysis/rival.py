"""The model a branch holds, judged on the same held-out replies as the one that would replace it."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.held_out import Pair
from analysis.hub import Target, look
from train_fn.errors import InputError
from train_fn.ratio import ratio_estimate
from train_fn.report import Evaluation
from train_fn.tokenizer import encode_pairs

if TYPE_CHECKING:
    from analysis.plain_model import PlainModel


def evaluate_rival(target: Target, commit: str, tokenizer: Any, pairs: Sequence[Pair]) -> Evaluation:
    """Return the response NLL of a model on the Hub, per token of our tokenizer.

    A model with another tokenizer reads the same texts; the NLL of a whole reply is then divided by our
    number of tokens, so that both models are compared by what they think of the same reply.

    Args:
        target: The branch that holds it.
        commit: Of that branch.
        tokenizer: Of the model that would replace it.
        pairs: Held-out examples as our token ids.

    Raises:
        InputError: The model cannot be read.
    """
    from analysis.plain_model import response_nll

    theirs = _load(target, commit)
    if tokenizer.get_vocab() == theirs.tokenizer.get_vocab():
        return response_nll(theirs, pairs)
    judged = response_nll(theirs, translated(pairs, tokenizer, theirs.tokenizer))
    return per_token(judged, [len(pair.reply) for pair in pairs])


def _load(target: Target, commit: str) -> "PlainModel":
    from analysis.plain_model import UnreadableError, load_plain

    try:
        return load_plain(target.repo, revision=commit)
    except UnreadableError as error:
        look(target)  # to transformers a Hub that does not answer is one without the files; this tells
        raise InputError(
            f"what {target} holds {error.why}; if the same command says so again, take another --branch, or "
            "delete those weights there"
        ) from error


def per_token(judged: Evaluation, tokens: Sequence[int]) -> Evaluation:
    """Return an evaluation whose NLLs are per token of another tokenizer.

    Args:
        judged: Evaluation per token of its own.
        tokens: Tokens of each reply by the other tokenizer.
    """
    sums = [nll * own for nll, own in zip(judged.example_nll, judged.example_tokens, strict=True)]
    mean, stderr = ratio_estimate(sums, tokens, judged.example_conversations)
    return dataclasses.replace(
        judged,
        nll=mean,
        stderr=stderr,
        example_nll=tuple(nll / max(1, own) for nll, own in zip(sums, tokens, strict=True)),
        example_tokens=tuple(tokens),
    )


def translated(pairs: Sequence[Pair], ours: Any, theirs: Any) -> list[Pair]:
    """Return the same texts as token ids of another tokenizer, each reply with its end token."""
    texts = []
    for pair in pairs:
        prompt = ours.decode(pair.prompt, skip_special_tokens=True)
        # A reply alone may lose the space that it begins with.
        whole = ours.decode([*pair.prompt, *pair.reply], skip_special_tokens=True)
        texts.append((prompt, whole.removeprefix(prompt)))
    end = theirs.eos_token_id
    return [
        dataclasses.replace(pair, prompt=np.array(prompt, np.int32), reply=np.array([*reply, end], np.int32))
        for pair, (prompt, reply) in zip(pairs, encode_pairs(texts, theirs), strict=True)
    ]
