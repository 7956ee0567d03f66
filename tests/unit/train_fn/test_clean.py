import json

import pytest

from train_fn.clean import clean_examples, strip_end, text_rules
from train_fn.config import CleanConfig, DataConfig
from train_fn.data_report import Drops
from train_fn.formats import Example

OFF = CleanConfig(
    languages=(), max_repeat=0, markers=(), exact_duplicates=False, min_reply_chars=0, unbalanced=False
)


def example(reply, message="how are you?", prompt=None):
    prompt = f"You: {message}\nBot:" if prompt is None else prompt
    return Example("x#0", "g", 0, prompt, reply, message, (), "")


def reason(clean, one, end_of_text="<eos>"):
    return next((name for name, drop in text_rules(clean, end_of_text) if drop(one)), None)


def only(**rule):
    return CleanConfig(**{**vars(OFF), **rule})


def test_all_rules_off_drop_nothing():
    assert text_rules(OFF, "<eos>") == []


@pytest.mark.parametrize(
    ("rule", "dropped", "kept"),
    [
        ({"max_repeat": 6}, "what!!!!??!!!??????......", "what?! well..."),
        ({"max_repeat": 6}, "nooooooooo", "nooooo"),
        ({"max_repeat": 6}, "a" * 7, "a" * 6),
        ({"markers": ("END_OF_DIALOG",)}, "fine END_OF_DIALOG", "fine, end of dialog"),
        ({"markers": ("START:text_remaining:",)}, "START:text_remaining:2 hi", "START: hi"),
        ({"markers": ("###",)}, "a ### b", "a ## b"),
        ({"min_reply_chars": 3}, "ok", "yes"),
        ({"min_reply_chars": 1}, "  \n", "."),
        ({"unbalanced": True}, 'so he said "no', "it's John's, don't"),
        ({"unbalanced": True}, "*waves", "*waves* hello"),
        ({"end_token": "</s>"}, "cut off in the", "whole.</s>"),
        (
            {"languages": ("en",)},
            "Это русский текст, он здесь не нужен.",
            "This is an English text, it may stay.",
        ),
        ({"languages": ("en",)}, "Das ist ein deutscher Satz, der hier nicht hingehört.", "ok lol"),
        ({"languages": ("en",)}, "да", "café, naïve"),
        ({"languages": ("en", "de")}, "это по-русски, целое предложение", "Das ist ein deutscher Satz."),
        (
            {"languages": ("ru",)},
            "This is clearly an English sentence.",
            "Это русский текст, он нужен здесь.",
        ),
    ],
)
def test_each_rule_alone(rule, dropped, kept):
    assert reason(only(**rule), example(dropped)) is not None
    assert reason(only(**rule), example(kept)) is None
    assert reason(OFF, example(dropped)) is None


def test_a_foreign_reply_is_seen_behind_a_long_english_prompt():
    prompt = "Translate the following sentence into another language, and be brief about it. " * 5
    reply = "Das Wetter ist heute sehr schön, und wir gehen deshalb alle zusammen im Park spazieren."
    assert reason(only(languages=("en",)), example(reply, prompt)) == "language"


def test_markers_are_found_in_the_prompt_too():
    prompt = "You: hi END_OF_DIALOG\nBot:"
    assert reason(only(markers=("END_OF_DIALOG",)), example("fine", prompt=prompt)) == "stray marker"


def test_an_end_the_reply_carries_is_stripped_for_it_is_learned_as_the_end_token():
    clean = only(end_token="</s>")
    assert strip_end(example(" whole.</s> \n"), clean, "<eos>").reply == " whole."
    assert strip_end(example(" whole.<eos>"), clean, "<eos>").reply == " whole."
    assert strip_end(example(" whole."), clean, "<eos>").reply == " whole."


def chat(*replies):
    messages = []
    for number, reply in enumerate(replies):
        messages += [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": reply},
        ]
    return json.dumps({"messages": messages})


def cleaned(tmp_path, lines, **settings):
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    drops = Drops()
    config = DataConfig(sources=(str(tmp_path / "a.jsonl"),), **settings)
    return clean_examples(config, "<eos>", drops), drops


def test_conversations_of_short_replies_go_as_a_whole(tmp_path):
    lines = [
        chat("ok", "no", "a long and friendly reply"),
        chat("a first long reply", "ok", "a third long reply"),
    ]
    left, drops = cleaned(tmp_path, lines, clean=only(min_median_reply_chars=10))
    assert [one.id for one in left.examples] == [f"a.jsonl:2#{n}" for n in range(3)]
    assert drops.counts == {"short conversation": 3}


def test_rewards_broken_lines_and_unanswered_turns_are_counted(tmp_path):
    lines = [
        chat("a reply"),
        json.dumps({"input": "a", "output": "b", "reward": 0}),
        "{broken",
        json.dumps({"messages": [{"role": "user", "content": "anybody?"}]}),
    ]
    left, drops = cleaned(tmp_path, lines, clean=OFF, skip_broken_lines=True)
    assert left.read == 4
    assert drops.counts == {"reward": 1, "broken line": 1, "no reply": 1}
    assert drops.shown["broken line"][0].id == "a.jsonl:3", "as in every other group"


def test_the_first_rule_that_objects_is_the_reason(tmp_path):
    _, drops = cleaned(tmp_path, [chat('"нет!!!!!!!!!!!!!!!!! END_OF_DIALOG')])
    assert {name: count for name, count in drops.counts.items() if count} == {"stray marker": 1}
