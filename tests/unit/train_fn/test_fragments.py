"""Texts that are tokenised in pieces give the ids of whole ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers

from train_fn.fragments import encode, is_cuttable, lines_of, pieces_of
from train_fn.tokenizer import load_tokenizer

CHARACTERS = [
    *"\n\n\n  : :'sdtABe9.!?*<|>_-\"",
    "\r",
    "\t",
    "\x1c",
    "\x85",
    "\u00a0",
    "\u2028",
    "\u3000",
    "\u0301",
]
WORDS = [
    "You: ",
    "Bot:",
    "<START>\n",
    "<|endoftext|>",
    "it's ",
    "I'll",
    "naïve",
    "привет",
    "😂",
    " \n ",
    "\n\n",
    "3.5",
]
TEXTS = st.lists(st.sampled_from(CHARACTERS + WORDS), max_size=24).map("".join)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("bundled")


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_any_text_gets_the_ids_of_the_whole(tokenizer, texts):
    assert encode(texts, tokenizer) == tokenizer(texts, add_special_tokens=False).input_ids


@pytest.fixture(scope="module")
def composing():
    tokenizer = load_tokenizer("bundled")
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    assert is_cuttable(tokenizer)
    return tokenizer


@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_so_it_does_where_characters_are_composed_before(composing, text):
    assert encode([text], composing) == composing([text], add_special_tokens=False).input_ids


def test_a_dialogue_is_cut_into_names_and_what_is_said(tokenizer):
    assert is_cuttable(tokenizer)
    assert lines_of("<START>\nYou: hi: there\nBot:") == ["<START>", "You: hi: there", "Bot:"]
    assert pieces_of("You: hi: there") == ("You:", " hi: there")
    assert lines_of("one\ntwo\n") == ["one", "two", ""]


@pytest.mark.parametrize("text", ["one \ntwo", "one\n two", "one\n\ntwo", "one\r\ntwo", "\none", "one\n\n"])
def test_a_text_stays_whole_where_white_space_meets_a_line_feed(text):
    assert lines_of(text) == [text]


def stripping(tokenizer):
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True)])


def spaced(tokenizer):
    tokenizer.add_tokens([AddedToken("a\nb")])


def prefixing(tokenizer):
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


def by_words(tokenizer):
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()


def lowering(tokenizer):
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip()


@pytest.mark.parametrize("change", [stripping, spaced, prefixing, by_words, lowering])
def test_a_tokenizer_that_looks_across_cuts_gets_whole_texts(change):
    changed = load_tokenizer("bundled")
    change(changed)
    assert not is_cuttable(changed)
    texts = ["one\n<mask> two", "You: a\nb", "two  \nthree"]
    assert encode(texts, changed) == changed(texts, add_special_tokens=False).input_ids
