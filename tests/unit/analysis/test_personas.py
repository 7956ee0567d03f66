"""Personas are found, rewritten and exchanged, and nothing else of a prompt changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.personas import Persona, find_persona, parse_persona, with_persona, write_persona
from train_fn.formats import Turn, render_prompt

WPP = '[character("Aria")\n{\nSpecies("Elf" + "Mage")\nMind("calm")\n}]'
PLAIN = "Species: Elf; Mage. Mind: calm."
ARIA = Persona("Aria", (("Species", ("Elf", "Mage")), ("Mind", ("calm",))))
TALK = (Turn("user", "Hello there."), Turn("bot", "You: hi"), Turn("user", "Who are you?"))


def test_wpp_and_plain_sentences_say_the_same() -> None:
    assert parse_persona(WPP, "") == ARIA
    assert parse_persona(PLAIN, "Aria") == ARIA
    assert write_persona(ARIA, "wpp") == WPP
    assert write_persona(ARIA, "plain") == PLAIN


def test_sentences_without_a_trait_become_a_description() -> None:
    text = "Aria guards an old library. Species: elf. She is shy! Is she?"
    persona = parse_persona(text, "Aria")
    assert persona.traits == (
        ("Description", ("Aria guards an old library.",)),
        ("Species", ("elf",)),
        ("Description", ("She is shy!", "Is she?")),
    )
    assert write_persona(persona, "plain") == text
    assert parse_persona(write_persona(persona, "wpp"), "") == persona


WORD = st.text("abcdefgh ", min_size=1, max_size=8).map(str.strip).filter(bool)
KEYS = st.sampled_from(("Species", "Mind", "Loves to", "Age"))


@given(st.lists(st.tuples(KEYS, st.lists(WORD, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=4))
def test_any_traits_survive_both_ways(traits: list[tuple[str, tuple[str, ...]]]) -> None:
    persona = Persona("Aria", tuple(traits))
    plain = parse_persona(write_persona(persona, "plain"), "Aria")
    assert plain == persona
    assert parse_persona(write_persona(plain, "wpp"), "") == persona


@pytest.mark.parametrize("text", [PLAIN, WPP, "She guards\nan old library."])
def test_the_persona_of_a_rendered_prompt_is_found_and_exchanged(text: str) -> None:
    prompt = render_prompt(TALK, text, "Aria", "pygmalion")
    place = find_persona(prompt)
    assert place is not None
    assert prompt[place.begin : place.end] == text
    assert place.persona == parse_persona(text, "Aria")
    other = parse_persona('[character("Bob"){Species("robot")}]', "")
    assert with_persona(prompt, place, other, "plain") == prompt.replace(text, "Species: robot.")
    assert with_persona(prompt, place, other, "wpp") == prompt.replace(
        text, '[character("Aria")\n{\nSpecies("robot")\n}]'
    )


def test_a_block_without_a_header_is_found() -> None:
    prompt = f"{WPP}\n<START>\nYou: hi\nAria:"
    place = find_persona(prompt)
    assert place is not None
    assert place.persona == ARIA
    assert with_persona(prompt, place, ARIA, "plain") == f"{PLAIN}\n<START>\nYou: hi\nAria:"


def test_a_scenario_is_no_part_of_the_persona() -> None:
    prompt = "Aria's Persona: She is shy.\nScenario: A library.\n<START>\nYou: hi\nAria:"
    place = find_persona(prompt)
    assert place is not None
    assert prompt[place.begin : place.end] == "She is shy."


def test_a_header_without_a_start_ends_with_its_line() -> None:
    prompt = "Aria's Persona: She is shy.\nYou: hi\nAria:"
    place = find_persona(prompt)
    assert place is not None
    assert prompt[place.begin : place.end] == "She is shy."


@pytest.mark.parametrize(
    "prompt", ["", "<START>\nYou: hi\nBot:", "Aria's Persona: \n<START>\nYou: hi\nAria:"]
)
def test_a_prompt_without_persona_has_none(prompt: str) -> None:
    assert find_persona(prompt) is None


def test_a_quote_in_a_value_cannot_end_it() -> None:
    persona = Persona("Aria", (("Says", ('the "word"',)),))
    assert parse_persona(write_persona(persona, "wpp"), "").traits == (("Says", ("the 'word'",)),)
