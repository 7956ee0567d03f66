"""A made-up model whose words and likelihoods are known has known figures."""

from collections.abc import Sequence

import numpy as np
import pytest

from analysis.behaviour_figures import (
    Model,
    converse,
    cycle,
    likelihood_figures,
    listening_prompts,
    speech_figures,
)
from analysis.behaviour_records import FIGURES, Exchange
from analysis.held_out import HeldOut, Pair
from analysis.plain_model import load_plain, response_nll
from analysis.speech import Reply, SpeechRules
from tests.unit.analysis.spoken import bundled_pairs
from train_fn.report import Evaluation

RULES = SpeechRules(("END_OF_DIALOG",), ("en",), 0.5)
GERMAN = (
    "Ich würde gern kommen, aber am Samstag muss ich arbeiten und am Sonntag besucht mich meine Schwester."
)


def ids(text: str) -> np.ndarray:
    return np.array(list(text.encode()), np.int32)


def text(tokens: np.ndarray) -> str:
    return bytes(tokens.tolist()).decode()


def pair(name: str, prompt: str, reply: str) -> Pair:
    return Pair(name, ids(prompt), np.append(ids(reply), 0).astype(np.int32), ord(name[0]))


def made_up(nll: dict[str, float], penalty: float) -> Model:
    """A model that knows replies by their ids, and finds one less likely unless its prompt names it."""

    def judge(pairs: Sequence[Pair]) -> Evaluation:
        values = tuple(nll[one.id] + penalty * (one.id not in text(one.prompt)) for one in pairs)
        tokens, of = tuple(len(one.reply) for one in pairs), tuple(one.conversation for one in pairs)
        return Evaluation(0.0, 0.0, values, tokens, 0.0, of)

    def answer(prompts: Sequence[np.ndarray], sampled: bool) -> list[Reply]:
        return [Reply(f"{'maybe' if sampled else 'surely'} {text(one)}", sampled) for one in prompts]

    return Model(judge, answer, ids, text)


def test_texts_have_the_figures_that_can_be_counted() -> None:
    exchanges = [
        Exchange("1", "You: hi\nAria:", "one two", "a b c d a b c d", ""),
        Exchange("2", "You: hi\nAria:", "one two three four", 'fine "\nAria: more', ""),
        Exchange("3", "You: hi\nAria:", "one two", GERMAN, ""),
        Exchange("4", "You: hi\nAria:", "one two", "", ""),
    ]
    figures = speech_figures(exchanges, [True, True, True, False], range(4), RULES, 0)
    values = {name: (one.value, one.n) for name, one in figures.items() if one is not None}
    words = 8 + 4 + len(GERMAN.split())
    assert values == {
        "length_ratio": (pytest.approx(words / 10), 4),
        "reply_words": (pytest.approx(words / 4), 4),
        "repetition": (pytest.approx(0.2 / 4), 4),
        "leaked": (0.25, 4),
        "unbalanced": (0.25, 4),
        "language_drift": (1.0, 1),
        "ended": (0.75, 4),
    }
    assert speech_figures(exchanges[:1], [True], [0], RULES, 0)["language_drift"] is None


def test_attentiveness_is_what_another_prompt_costs() -> None:
    pairs = tuple(pair(name, f"prompt of {name}", "x" * n) for n, name in enumerate(("ann", "bob", "cid"), 3))
    nll = {"ann": 2.0, "bob": 3.0, "cid": 4.0, "old": 1.0}
    trained = (pair("old", "prompt of old", "yy"),)
    figures = likelihood_figures(made_up(nll, 0.5), HeldOut(pairs, trained), 0)
    (eval_nll, attentive, gap) = (figures[k] for k in ("eval_nll", "attentiveness", "train_minus_eval"))
    assert eval_nll is not None
    assert attentive is not None
    assert gap is not None
    assert eval_nll.value == pytest.approx((4 * 2 + 5 * 3 + 6 * 4) / 15)
    assert (attentive.low, attentive.value, attentive.high) == pytest.approx((0.5, 0.5, 0.5))
    assert gap.value == pytest.approx(1 - eval_nll.value)
    assert figures["persona_adherence_plain"] is figures["persona_adherence_wpp"] is None


def test_only_the_persona_is_exchanged_for_its_adherence() -> None:
    seen: list[str] = []
    pairs = tuple(
        pair(name, f"Bot's Persona: Name: {name}.\n<START>\nYou: who?\nBot:", f"I am {name}")
        for name in ("ann", "bob", "cid")
    )
    model = made_up({"ann": 2.0, "bob": 3.0, "cid": 4.0}, 0.7)

    def judge(some: Sequence[Pair]) -> Evaluation:
        seen.extend(text(one.prompt) for one in some)
        return model.nll(some)

    listening = Model(judge, model.answer, model.encode, model.decode)
    figures = likelihood_figures(listening, HeldOut(pairs, ()), 0)
    for name in ("persona_adherence_plain", "persona_adherence_wpp"):
        found = figures[name]
        assert found is not None
        assert found.value == pytest.approx(0.7)
        assert found.n == 3
    assert figures["train_minus_eval"] is None
    assert 'Bot\'s Persona: [character("Bot")\n{\nName("ann")\n}]\n<START>\nYou: who?\nBot:' in seen
    assert all(prompt.endswith("\n<START>\nYou: who?\nBot:") for prompt in seen)


def test_one_persona_for_all_shows_nothing() -> None:
    same = "Bot's Persona: She is shy.\n<START>\nYou: hi\nBot:"
    pairs = (pair("ann", same, "a"), pair("bob", same, "b"), pair("cid", "<START>\nYou: hi\nBot:", "c"))
    figures = likelihood_figures(made_up({"ann": 1.0, "bob": 1.0, "cid": 1.0}, 0.1), HeldOut(pairs, ()), 0)
    assert figures["persona_adherence_plain"] is None


def test_a_conversation_keeps_prompt_reference_and_both_replies() -> None:
    exchanges, ended = converse(made_up({}, 0), [pair("ann", "hi", " hello")])
    assert exchanges == (Exchange("ann", "hi", " hello", "maybe hi", "surely hi"),)
    assert ended == [True]


def test_the_prompts_are_drawn_by_the_seed_and_stay_in_order() -> None:
    held = HeldOut(tuple(pair(f"{i:02d}", "p", "r") for i in range(30)), ())
    drawn = [one.id for one in listening_prompts(held, 8, 0)]
    assert len(set(drawn)) == 8
    assert drawn == sorted(drawn)
    assert drawn == [one.id for one in listening_prompts(held, 8, 0)]
    assert drawn != [one.id for one in listening_prompts(held, 8, 1)]
    assert len(listening_prompts(held, 99, 0)) == 30


@pytest.mark.parametrize("count", [2, 3, 17])
def test_in_a_cycle_nothing_keeps_its_place(count: int) -> None:
    for seed in range(20):
        order = cycle(count, seed)
        assert sorted(order) == list(range(count))
        at, steps = order[0], 1
        while at != 0:
            at, steps = order[at], steps + 1
        assert steps == count


def test_the_bundled_model_reads_its_prompts() -> None:
    plain = load_plain("bundled")
    pairs = bundled_pairs(plain.tokenizer, 64)
    model = Model(lambda some: response_nll(plain, some), lambda *_: [], ids, plain.tokenizer.decode)
    figures = likelihood_figures(model, HeldOut(pairs, pairs), 0)
    assert set(figures) < set(FIGURES)
    attentive, gap = figures["attentiveness"], figures["train_minus_eval"]
    assert attentive is not None
    assert gap is not None
    assert attentive.low > 0
    assert gap.value == 0
