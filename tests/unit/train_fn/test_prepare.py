import dataclasses
import json
import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from train_fn import prepare as module
from train_fn.config import CleanConfig, DataConfig
from train_fn.errors import InputError
from train_fn.prepare import prepare
from train_fn.prepared import open_prepared
from train_fn.tokenizer import load_tokenizer, train_tokenizer

SENTENCE = "the cat sat on a mat and then it ran far away from home to see some old friends"
WORDS = SENTENCE.split()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer([SENTENCE] * 5, 300, folder)
    return load_tokenizer(str(folder))


def rows(count, seed=0):
    rng = random.Random(seed)
    for _ in range(count):
        turns = [" ".join(rng.choices(WORDS, k=10)) for _ in range(4)]
        roles = ["user", "assistant"] * 2
        yield {"messages": [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]}


def written(path, some):
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    return str(path)


def config(*files, **changes):
    changes = {"clean": CleanConfig(languages=()), "eval_fraction": 0.2, **changes}
    return DataConfig(sources=tuple(files), **changes)


def test_what_is_prepared_is_what_was_said(tmp_path, tokenizer):
    given = list(rows(60))
    prepared = prepare(config(written(tmp_path / "a.jsonl", given)), lambda: tokenizer, "t", tmp_path / "c")
    for side in (prepared.train, prepared.eval):
        columns = (side.lengths, side.prompt_lengths, side.sources, side.ids)
        assert {len(column) for column in columns} == {len(side)}
        for i in range(len(side)):
            file, _, rest = side.ids[i].partition(":")
            line, _, reply = rest.partition("#")
            said = given[int(line) - 1]["messages"][2 * int(reply) + 1]["content"]
            tokens = side.tokens(i)
            assert len(tokens) == side.lengths[i]
            assert tokens.dtype == np.int32
            assert tokenizer.decode(tokens[side.prompt_lengths[i] :]) == f" {said}<|endoftext|>"
            assert file == "a.jsonl"
    assert not {i.split("#")[0] for i in prepared.train.ids} & {i.split("#")[0] for i in prepared.eval.ids}
    assert len(prepared.train) + len(prepared.eval) == prepared.report.kept
    every = [side.tokens(i) for side in (prepared.train, prepared.eval) for i in range(len(side))]
    assert prepared.report.highest_token == np.concatenate(every).max()


def test_tokens_are_read_from_the_memory_map(tmp_path, tokenizer):
    side = prepare(
        config(written(tmp_path / "a.jsonl", rows(30))), lambda: tokenizer, "t", tmp_path / "c"
    ).train
    assert not side.tokens(0).flags.owndata
    assert not side.tokens(0).flags.writeable


def test_a_second_time_opens_what_is_there(tmp_path, tokenizer, monkeypatch):
    file = written(tmp_path / "a.jsonl", rows(30))
    first = prepare(config(file), lambda: tokenizer, "t", tmp_path / "c")
    monkeypatch.setattr(module, "_write", None)
    again = prepare(dataclasses.replace(config(file), weights=(2.0,)), lambda: tokenizer, "t", tmp_path / "c")
    assert again.folder == first.folder
    assert open_prepared(first.folder).report == first.report


@pytest.mark.parametrize(
    "change",
    [
        {"max_context_turns": 1},
        {"split_seed": 1},
        {"prompt_format": "plain"},
        {"clean": CleanConfig(languages=(), unbalanced=False)},
        {"max_example_tokens": 100},
    ],
)
def test_the_key_follows_every_setting(tmp_path, tokenizer, change):
    file = written(tmp_path / "a.jsonl", rows(30))
    changed = config(file, **change)
    assert module.data_key(config(file), "t", tmp_path) != module.data_key(changed, "t", tmp_path)


def test_the_key_follows_content_and_tokenizer(tmp_path, tokenizer):
    file = written(tmp_path / "a.jsonl", rows(30))
    key = module.data_key(config(file), "t", tmp_path)
    assert module.data_key(config(file), "u", tmp_path) != key
    written(tmp_path / "a.jsonl", rows(30, seed=1))
    assert module.data_key(config(file), "t", tmp_path) != key


def test_weights_that_take_nothing_are_refused_when_the_data_is_prepared(tmp_path, tokenizer):
    file = written(tmp_path / "a.jsonl", rows(30))
    for _ in range(2):
        with pytest.raises(InputError, match=r"data\.weights = \(0\.001,\) takes no example of any source"):
            prepare(config(file, weights=(0.001,)), lambda: tokenizer, "t", tmp_path / "c")
    assert len(prepare(config(file, weights=(0.1,)), lambda: tokenizer, "t", tmp_path / "c").train) > 0


def test_sources_are_told_apart(tmp_path, tokenizer):
    files = [written(tmp_path / f"{n}.jsonl", rows(40, seed=n)) for n in range(2)]
    prepared = prepare(config(*files), lambda: tokenizer, "t", tmp_path / "c")
    for i, name in enumerate(prepared.train.ids):
        assert name.startswith(f"{prepared.train.sources[i]}.jsonl:")


def prepared_folders(cache):
    """Everything in a cache but the remembered hashes of files."""
    return [path for path in cache.iterdir() if path.name != "content-hashes"]


ODD = st.sampled_from(
    [
        {"input": "x", "output": "a fine reply to read", "reward": 0},
        {"input": "x", "output": ""},
        {"input": "x", "output": 'say "what'},
        {"input": "x", "output": "no!!!!!!!!!!!"},
        {"input": "x", "output": "fine END_OF_DIALOG"},
        {"input": "x", "output": "the same reply each and every time it is said"},
        {"input": "x", "output": "the same reply each and every time it is said now"},
        {"input": "x", "output": "long " * 300},
        {"input": "x", "output": "это русский текст, который здесь не нужен"},
        {"messages": [{"role": "user", "content": "nobody answers"}]},
        "broken",
    ]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ODD, max_size=25), st.booleans(), st.integers(2, 8))
def test_kept_and_dropped_make_up_all_that_was_read(tmp_path_factory, tokenizer, odd, near, most):
    folder = tmp_path_factory.mktemp("identity")
    lines = [json.dumps(row) for row in rows(20)] + [r if isinstance(r, str) else json.dumps(r) for r in odd]
    (folder / "a.jsonl").write_text("\n".join(lines))
    clean = CleanConfig(near_duplicates=near)
    asked = config(str(folder / "a.jsonl"), clean=clean, skip_broken_lines=True, max_eval_examples=most)
    report = prepare(asked, lambda: tokenizer, "t", folder / "c").report
    assert report.read == 40 + len(odd)
    assert report.kept + sum(report.dropped.values()) == report.read
    assert all(len(shown) == min(20, report.dropped[reason]) for reason, shown in report.shown.items())


def test_over_length_is_dropped_and_shown_or_refused_but_never_cut(tmp_path, tokenizer):
    long = {"input": "x", "output": "away " * 600}
    file = written(tmp_path / "a.jsonl", [*rows(20), long])
    prepared = prepare(config(file), lambda: tokenizer, "t", tmp_path / "c")
    report, report_folder = prepared.report, prepared.folder
    assert report.dropped["over-length"] == 1
    assert report.shown["over-length"][0].id == "a.jsonl:21#0"
    strict = config(file, clean=CleanConfig(languages=(), over_length=False))
    with pytest.raises(InputError, match=r"a\.jsonl:21#0"):
        prepare(strict, lambda: tokenizer, "t", tmp_path / "c")
    assert prepared_folders(tmp_path / "c") == [report_folder]


def test_data_of_which_a_rule_leaves_nothing_names_that_rules_setting(tmp_path, tokenizer):
    file = written(tmp_path / "a.jsonl", list(rows(20)))
    for changes, setting in (
        ({"max_example_tokens": 8}, r"data\.max_example_tokens = 8"),
        ({"clean": CleanConfig(languages=(), min_reply_chars=1000)}, r"data\.clean\.min_reply_chars"),
    ):
        with pytest.raises(InputError, match=rf"none is left .*; .*, or change {setting}$"):
            prepare(config(file, **changes), lambda: tokenizer, "t", tmp_path / "c")


def test_the_report_knows_what_a_larger_limit_would_keep(tmp_path, tokenizer):
    long = {"input": "x", "output": "away " * 600}
    file = written(tmp_path / "a.jsonl", [*rows(20), long])
    report = prepare(config(file), lambda: tokenizer, "t", tmp_path / "c").report
    assert report.max_example_tokens == 512
    assert list(report.would_keep.values()) == [1]


def test_nothing_said_in_the_held_out_set_is_trained_on(tmp_path, tokenizer):
    base = list(rows(60))
    varied = json.loads(json.dumps(base))
    for row in varied:
        row["messages"][0]["content"] = f"so {row['messages'][0]['content']}"
    for near in (True, False):
        clean = CleanConfig(languages=(), near_duplicate_jaccard=0.5)
        clean = dataclasses.replace(clean, near_duplicates=near, exact_duplicates=near)
        asked = config(written(tmp_path / "a.jsonl", base + varied), clean=clean)
        prepared = prepare(asked, lambda: tokenizer, "t", tmp_path / "c")
        said = [
            {tokenizer.decode(side.tokens(i)[side.prompt_lengths[i] :]) for i in range(len(side))}
            for side in (prepared.train, prepared.eval)
        ]
        assert said[1]
        assert not said[0] & said[1]


def test_no_prompt_is_on_both_sides_where_each_has_several_replies(tmp_path, tokenizer):
    said = [[turn["content"] for turn in row["messages"]] for row in rows(60)]
    given = [
        {"input": f"<START>\nYou: {turns[0]}\nBot:", "output": f" {turns[1]} {more}"}
        for turns in said
        for more in ("Really.", "Is it not so?", "That is all that I know about it.")
    ]
    clean = CleanConfig(languages=(), near_duplicates=False)
    asked = config(written(tmp_path / "a.jsonl", given), clean=clean)
    prepared = prepare(asked, lambda: tokenizer, "t", tmp_path / "c")
    prompts = [
        {tuple(side.tokens(i)[: side.prompt_lengths[i]]) for i in range(len(side))}
        for side in (prepared.train, prepared.eval)
    ]
    assert prompts[1]
    assert not prompts[0] & prompts[1]


def test_one_greeting_for_all_dialogues_leaves_a_fair_share_held_out(tmp_path, tokenizer):
    said = [[turn["content"] for turn in row["messages"]] for row in rows(200)]
    prompt = "Bot's Persona: kind\n<START>\nBot: Hello!\nYou: {}\nBot:"
    given = [{"input": prompt.format(turns[0]), "output": f" {turns[1]}"} for turns in said]
    file = written(tmp_path / "a.jsonl", given)
    report = prepare(config(file), lambda: tokenizer, "t", tmp_path / "c").report
    assert 20 < report.eval < 60, "a fifth of 200"


def test_examples_know_which_conversation_they_are_of(tmp_path, tokenizer):
    """Of a row each reply, and of rows that are moments of one dialogue each row."""
    texts = [" ".join(random.Random(n).choices(WORDS, k=10)) for n in range(4)]
    names = ["You", "Aria", "You", "Aria"]
    lines = [f"{name}: {text}" for name, text in zip(names, texts, strict=True)]
    moments = [
        {
            "prompt": "\n".join(["Aria's Persona: kind", "<START>", *lines[:n], "Aria:"]),
            "generation": texts[n],
        }
        for n in (1, 3)
    ]
    files = [written(tmp_path / "a.jsonl", rows(20)), written(tmp_path / "b.jsonl", moments)]
    prepared = prepare(config(*files), lambda: tokenizer, "t", tmp_path / "c")
    for side in (prepared.train, prepared.eval):
        names = {"b" if place.startswith("b") else place.partition("#")[0] for place in side.ids}
        pairs = {
            ("b" if place.startswith("b") else place.partition("#")[0], int(number))
            for place, number in zip(side.ids, side.conversations, strict=True)
        }
        assert len(pairs) == len(names) == len({number for _, number in pairs})
    assert prepared.report.eval_conversations == len(set(prepared.eval.conversations.tolist()))
    assert sum(place.startswith("b") for side in (prepared.train, prepared.eval) for place in side.ids) == 2


@pytest.mark.parametrize("count", [0, 1])
def test_too_little_data_is_an_input_error(tmp_path, tokenizer, count):
    file = written(tmp_path / "a.jsonl", rows(count))
    with pytest.raises(InputError, match="data") as caught:
        prepare(config(file), lambda: tokenizer, "t", tmp_path / "c")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "c").glob(".*"))


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, tokenizer):
    file = written(tmp_path / "a.jsonl", rows(20))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")

    def onto_full_disk(examples, tokens, path):
        path.symlink_to(full)
        original(examples, tokens, path)

    original = module._write_split
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_write_split", onto_full_disk)
        with pytest.raises(InputError, match="No space left"):
            prepare(config(file), lambda: tokenizer, "t", tmp_path / "c")
    assert prepared_folders(tmp_path / "c") == []


def _race(folder, key):
    tokenizer = load_tokenizer(str(folder / "tokenizer"))
    prepared = prepare(config(str(folder / "a.jsonl")), lambda: tokenizer, key, folder / "c")
    assert len(prepared.train) > 0


def test_two_processes_prepare_the_same(tmp_path):
    train_tokenizer([SENTENCE] * 5, 300, tmp_path / "tokenizer")
    written(tmp_path / "a.jsonl", rows(30))
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_race, args=(tmp_path, "t")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(prepared_folders(tmp_path / "c")) == 1


def test_training_texts_hold_nothing_of_the_held_out_conversations(tmp_path, tokenizer):
    asked = config(written(tmp_path / "a.jsonl", rows(60)))
    texts = "\n".join(module.training_texts(asked))
    held = prepare(asked, lambda: tokenizer, "t", tmp_path / "c").eval
    assert len(held) > 0
    for i in range(len(held)):
        assert tokenizer.decode(held.tokens(i)[held.prompt_lengths[i] : -1]).strip() not in texts


def test_prompts_that_hold_fewer_turns_are_counted(tmp_path, tokenizer):
    file = written(tmp_path / "a.jsonl", rows(30))
    whole = prepare(config(file), lambda: tokenizer, "t", tmp_path / "c").report
    short = prepare(config(file, max_context_turns=2), lambda: tokenizer, "t", tmp_path / "c").report
    assert whole.shortened == 0
    assert short.shortened == short.kept / 2, "the second reply of each conversation"
