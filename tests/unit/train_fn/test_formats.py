import json

import pytest

from train_fn.formats import RowError, conversation, examples

ROWS = [
    {"prompt": "You: hi\nBot:", "generation": " hello"},
    {"input": "hi", "output": "hello", "reward": 1},
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
]


def made(row, prompt_format="pygmalion", max_context_turns=0):
    return list(examples(conversation(row, "f:1", 0), prompt_format, max_context_turns))


@pytest.mark.parametrize("row", ROWS)
def test_every_accepted_row_gives_one_reply(row):
    (example,) = made(row)
    assert example.reply.strip() == "hello"
    assert "hi" in example.prompt
    assert example.id == "f:1#0"


def test_pygmalion_prompts_have_persona_start_and_the_name_to_continue():
    row = {
        "messages": [
            {"role": "system", "content": "A calm cat."},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "meow"},
            {"role": "user", "content": "hungry?"},
            {"role": "assistant", "content": "always"},
        ]
    }
    first, second = made(row)
    assert first.prompt == "Bot's Persona: A calm cat.\n<START>\nYou: hi\nBot:"
    assert first.reply == " meow"
    assert second.prompt == "Bot's Persona: A calm cat.\n<START>\nYou: hi\nBot: meow\nYou: hungry?\nBot:"
    assert second.id == "f:1#1"
    assert first.group == second.group


def test_what_the_system_says_later_is_in_later_prompts_only():
    system = {"role": "system", "content": "Be kind."}
    note = {"role": "system", "content": "His dog died."}
    talk = [{"role": r, "content": c} for r, c in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    first, second = made({"messages": [system, *talk[:3], note, talk[3]]})
    assert first.persona == "Be kind."
    assert "dog" not in first.prompt
    assert second.persona == "Be kind.\nHis dog died."
    assert second.prompt.startswith("Bot's Persona: Be kind.\nHis dog died.\n<START>\n")
    (alone,) = made({"messages": [system, *talk[:2]]})
    assert alone.group == first.group == second.group
    assert [example.persona for example in made({"messages": [talk[0], note, *talk[1:]]})] == [
        note["content"]
    ] * 2


@pytest.mark.parametrize(("turns", "held"), [(1, "c"), (2, "c"), (3, "abc"), (0, "abc")])
def test_a_window_for_a_chat_template_begins_with_the_user(turns, held):
    names = ["human", "gpt"] * 2
    row = {"conversations": [{"from": n, "value": v} for n, v in zip(names, "abcd", strict=True)]}
    last = made(row, "chat_template", turns)[-1]
    assert "".join(turn.text for turn in last.history) == held
    assert last.is_shortened == (held != "abc")


def test_a_window_of_nothing_but_the_bot_stays():
    names = ["human", "gpt", "gpt", "gpt"]
    row = {"conversations": [{"from": n, "value": v} for n, v in zip(names, "abcd", strict=True)]}
    assert [turn.text for turn in made(row, "chat_template", 2)[-1].history] == ["b", "c"]


def test_rendered_prompts_stay_as_they_are():
    (example,) = made(ROWS[0])
    assert (example.prompt, example.reply) == ("You: hi\nBot:", " hello")


@pytest.mark.parametrize(
    ("turns", "expected"), [(0, "a\nb\nc\n"), (2, "b\nc\n"), (1, "c\n"), (9, "a\nb\nc\n")]
)
def test_context_is_shortened_by_whole_turns_only(turns, expected):
    names = ["human", "gpt"] * 2
    row = {"conversations": [{"from": n, "value": v} for n, v in zip(names, "abcd", strict=True)]}
    assert made(row, "plain", turns)[-1].prompt == expected


def test_a_turn_after_the_bots_first_word_only():
    row = {"messages": [{"role": "assistant", "content": "a greeting"}, {"role": "user", "content": "hi"}]}
    assert made(row) == []


@pytest.mark.parametrize("reward", [0, -1, 0.5, None, "0"])
def test_rows_of_another_reward_are_no_conversation(reward):
    assert conversation({"input": "a", "output": "b", "reward": reward}, "f:1", 0) is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "a", "answer": "b"}, "'answer', 'question'"),
        ({"prompt": "a", "generation": 3}, "texts as values"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "narrator"),
        ({"messages": [{"role": "user"}]}, "no text as 'content' of message 1"),
        ({"messages": [*ROWS[2]["messages"][:1], {"role": "assistant", "content": None}]}, "of message 2"),
        ({"messages": ["hi"]}, "no text as 'role' of message 1"),
        ([1], "list"),
        (None, "NoneType"),
    ],
)
def test_other_rows_are_refused_by_what_they_hold(row, said):
    with pytest.raises(RowError, match=said):
        conversation(row, "f:1", 0)


HALF = "the emoji was cut \ud83d"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": HALF, "generation": "x"},
        {"input": "x", "output": HALF},
        {"messages": [{"role": "user", "content": HALF}, {"role": "assistant", "content": "x"}]},
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": HALF}]},
        {"messages": [{"role": "system", "content": HALF}, *ROWS[2]["messages"]]},
        {**ROWS[2], "char": HALF},
    ],
)
def test_a_text_that_is_no_utf_8_is_refused(row):
    with pytest.raises(RowError, match=r"'\\ud83d', half of a surrogate pair"):
        conversation(row, "f:1", 0)


def test_a_whole_surrogate_pair_is_a_character():
    assert conversation(json.loads(r'{"prompt": "\ud83d\ude00", "generation": "x"}'), "f:1", 0) is not None


def moments(lines, first, end=""):
    """The rows of one growing dialogue in the pygmalion form, one for each line from `first` on."""
    for number in range(first, len(lines)):
        name, reply = lines[number].split(":", 1)
        prompt = "".join(f"{line}\n" for line in ["Bot's Persona: kind", "<START>", *lines[:number]])
        yield {"input": f"{prompt}{name}:", "output": reply + end}


def groups(rows, **settings):
    return {e.group for row in rows for e in examples(conversation(row, "f:1", 0), "pygmalion", **settings)}


LINES = [
    "Bot: *waves* Hello!",
    "Bot: Are you there?",
    "You: yes: I am",
    "Bot: good\nNote: it smiles",
    "You: so?",
]


@pytest.mark.parametrize("lines", [LINES, LINES[1:], ["You: hi ", *LINES[1:]]])
def test_all_moments_of_a_growing_dialogue_share_its_group(lines):
    rows = list(moments(lines, 1))
    assert len(rows) > 2
    assert len(groups(rows, max_context_turns=0)) == 1
    unlike = list(moments([*lines[:1], "You: something else", *lines[2:]], 1))
    assert not groups(rows, max_context_turns=0) & groups(unlike, max_context_turns=0)


def test_an_end_mark_behind_a_reply_makes_no_other_dialogue():
    ends = ("[END]", "<|endoftext|>")
    rows = list(moments(["You: hi", "Bot: hello", "You: well?", "Bot: yes"], 1, "[END]"))
    assert len(groups(rows, max_context_turns=0, ends=ends)) == 1
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello[END]"}]
    later = [chat[0], {"role": "assistant", "content": "hello"}, *chat]
    rows = [{"messages": chat}, {"messages": later}]
    assert len(groups(rows, max_context_turns=0, ends=ends)) == 1


def test_dialogues_that_share_a_greeting_are_many():
    prompt = "Bot's Persona: kind\n<START>\nBot: Hello, traveller!\nYou: question {}\nBot:"
    rows = [{"input": prompt.format(n), "output": "x"} for n in range(9)]
    assert len(groups(rows, max_context_turns=0)) == 9


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_takes_no_reply_out_of_its_group(window):
    names = ["human", "gpt"] * 3
    row = {"conversations": [{"from": n, "value": v} for n, v in zip(names, "abcdef", strict=True)]}
    assert len(groups([row], max_context_turns=window)) == 1


def test_instructions_with_a_common_header_are_not_one_conversation():
    header = "Below is an instruction that describes a task.\n\n### Instruction:\n"
    rows = [{"prompt": f"{header}Count to {n}.\n\n### Response:\n", "generation": "ok"} for n in range(5)]
    assert len({made(row)[0].group for row in rows}) == 5


def test_growing_rows_of_one_chat_share_its_group():
    texts = ["hi, are you there?", "yes I am", "good, tell me more", "about what?", "cats", "they purr"]
    roles = ["user", "assistant"] * 3
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
    groups = {made({"messages": messages[:n]})[-1].group for n in (2, 4, 6)}
    assert len(groups) == 1


HISTORY = "".join(f"You: question number {n} of a long talk\nBot: answer number {n}\n" for n in range(20))


@pytest.mark.parametrize("header", ["", "<START>\n", "Bot's Persona: kind\n<START>\n"])
def test_the_message_of_a_rendered_dialogue_is_its_last_line(header):
    (example,) = made({"prompt": f"{header}{HISTORY}You: and now?\nBot:", "generation": " bye"})
    assert example.last_message == "You: and now?"


def test_the_message_of_an_instruction_is_all_of_it():
    prompt = "Name: three colours\n\n### Response:\n"
    assert made({"input": prompt, "output": "red"})[0].last_message == prompt


def test_dialogues_of_two_personas_that_open_alike_are_two():
    rows = [{"prompt": f"Bot's Persona: {p}\n<START>\nYou: hi\nBot:", "generation": "x"} for p in ("a", "b")]
    assert made(rows[0])[0].group != made(rows[1])[0].group
