"""What the figures of a model's behaviour are, computed from what it says and how likely it finds replies.

The model is given as functions, so that this holds for any; `plain_model` makes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis import intervals
from analysis.behaviour_records import Estimate, Exchange
from analysis.held_out import HeldOut, Pair
from analysis.personas import Persona, Place, Style, find_persona, with_persona
from analysis.speech import Reply, SpeechRules, is_foreign, leaks, repetition, speaker_of, word_count
from train_fn.punctuation import is_unbalanced
from train_fn.report import Evaluation

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Model:
    """What is asked of a model."""

    nll: Callable[[Sequence[Pair]], Evaluation]
    """NLL of replies given their prompts."""
    answer: Callable[[Sequence[Ids], bool], list[Reply]]
    """Replies to prompts, sampled or greedy."""
    encode: Callable[[str], Ids]
    decode: Callable[[Ids], str]


def listening_prompts(held: HeldOut, count: int, seed: int) -> tuple[Pair, ...]:
    """Return the held-out examples whose prompts are answered: drawn by the seed, in their order."""
    drawn = np.random.default_rng(seed).permutation(len(held.pairs))[:count]
    return tuple(held.pairs[i] for i in sorted(drawn.tolist()))


def converse(model: Model, pairs: Sequence[Pair]) -> tuple[tuple[Exchange, ...], list[bool]]:
    """Let a model answer prompts; return the exchanges, and whether each sampled reply ended."""
    prompts = [pair.prompt for pair in pairs]
    sampled, greedy = model.answer(prompts, True), model.answer(prompts, False)
    exchanges = tuple(
        Exchange(pair.id, model.decode(pair.prompt), model.decode(pair.reply[:-1]), said.text, likely.text)
        for pair, said, likely in zip(pairs, sampled, greedy, strict=True)
    )
    return exchanges, [reply.ended for reply in sampled]


def speech_figures(
    exchanges: Sequence[Exchange],
    ended: Sequence[bool],
    conversations: Sequence[int],
    rules: SpeechRules,
    seed: int,
) -> dict[str, Estimate | None]:
    """Return the figures of the sampled replies.

    `length_ratio` is the words of the replies over those of the references; `repetition` a mean share of
    repeated word 4-grams; `leaked`, `unbalanced`, `language_drift` and `ended` are shares of replies.

    Args:
        exchanges: Prompts with the replies.
        ended: Whether each sampled reply ended.
        conversations: A number for the conversation of each prompt.
        rules: What replies are held against.
        seed: Of the intervals.
    """
    said = [one.sampled for one in exchanges]
    words, theirs = [word_count(text) for text in said], [word_count(one.reference) for one in exchanges]
    leaked = [leaks(one.sampled, speaker_of(one.prompt), rules.markers) for one in exchanges]
    drift = [is_foreign(one.sampled, one.reference, rules) for one in exchanges]
    known = [(verdict, of) for verdict, of in zip(drift, conversations, strict=True) if verdict is not None]
    return {
        "length_ratio": intervals.ratio(intervals.Sample(words, theirs, conversations), seed),
        "reply_words": intervals.mean(words, conversations, seed),
        "repetition": intervals.mean([repetition(text) for text in said], conversations, seed),
        "leaked": intervals.share(leaked, conversations),
        "unbalanced": intervals.share([is_unbalanced(text) for text in said], conversations),
        "language_drift": intervals.share([verdict for verdict, _ in known], [place for _, place in known]),
        "ended": intervals.share(ended, conversations),
    }


def likelihood_figures(model: Model, held: HeldOut, seed: int) -> dict[str, Estimate | None]:
    """Return the figures of how likely a model finds the true replies.

    `attentiveness` is the NLL of the held-out replies given another example's prompt less that given their
    own, in nats per token, paired by example: a model that does not read its prompt has 0. Persona adherence
    is the same with only the persona exchanged, in plain sentences and in W++.
    """
    own, trained = model.nll(held.pairs), model.nll(held.trained) if held.trained else None
    other = model.nll(_with_other_prompts(held.pairs, seed)) if len(held.pairs) > 1 else None
    return {
        "eval_nll": intervals.ratio(_sample(own), seed),
        "train_minus_eval": None
        if trained is None
        else intervals.difference(_sample(trained), _sample(own), seed),
        "attentiveness": None if other is None else _paired(own, other, seed),
        "persona_adherence_plain": _adherence(model, held.pairs, "plain", seed),
        "persona_adherence_wpp": _adherence(model, held.pairs, "wpp", seed),
    }


def cycle(count: int, seed: int) -> list[int]:
    """Return a random permutation in which nothing keeps its place, all of it one cycle (Sattolo 1986)."""
    dice, order = np.random.default_rng(seed), list(range(count))
    for i in range(count - 1, 0, -1):
        j = int(dice.integers(i))
        order[i], order[j] = order[j], order[i]
    return order


def _sample(evaluation: Evaluation) -> intervals.Sample:
    """Return NLL and tokens of each example."""
    tokens = [float(n) for n in evaluation.example_tokens]
    sums = [nll * n for nll, n in zip(evaluation.example_nll, tokens, strict=True)]
    return intervals.Sample(sums, tokens, evaluation.example_conversations)


def _paired(own: Evaluation, other: Evaluation, seed: int) -> Estimate | None:
    """Return by how much more a reply costs with the other prompt, over the examples scored alike."""
    mine, theirs = _sample(own), _sample(other)
    kept = [i for i, tokens in enumerate(mine.below) if tokens == theirs.below[i]]
    more = [theirs.above[i] - mine.above[i] for i in kept]
    alike = intervals.Sample(more, [mine.below[i] for i in kept], [mine.conversations[i] for i in kept])
    return intervals.ratio(alike, seed)


def _with_other_prompts(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """Give each reply another example's prompt; its beginning goes where both together were too long."""
    longest = max(len(pair.prompt) + len(pair.reply) for pair in pairs)
    return [
        replace(pair, prompt=pairs[i].prompt[-max(1, longest - len(pair.reply)) :])
        for pair, i in zip(pairs, cycle(len(pairs), seed), strict=True)
    ]


def _adherence(model: Model, pairs: Sequence[Pair], style: Style, seed: int) -> Estimate | None:
    """Return what another persona costs, over the examples that have one; None when there is no other."""
    found: list[tuple[Pair, str, Place]] = []
    for pair in pairs:
        prompt = model.decode(pair.prompt)
        place = find_persona(prompt)
        if place is not None:
            found.append((pair, prompt, place))
    personas = list({place.persona.traits: place.persona for _, _, place in found}.values())
    if len(personas) < 2:
        return None
    exchanged = cycle(len(personas), seed)
    others = {one.traits: personas[i] for one, i in zip(personas, exchanged, strict=True)}

    def rewritten(choose: Callable[[Persona], Persona]) -> list[Pair]:
        texts = [with_persona(prompt, place, choose(place.persona), style) for _, prompt, place in found]
        return [
            replace(pair, prompt=model.encode(text)) for (pair, _, _), text in zip(found, texts, strict=True)
        ]

    own = model.nll(rewritten(lambda persona: persona))
    return _paired(own, model.nll(rewritten(lambda persona: others[persona.traits])), seed)
