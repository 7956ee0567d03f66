"""Tokenise dialogues piece by piece: a line that many prompts share is tokenised once.

Every reply of a conversation has all turns before it as its prompt, so the prompts together are as long as
the square of the conversation. A byte-level BPE tokenizer splits a text by the regular expression of GPT-2
before it merges anything (Radford et al. 2019, section 2.2; it stands in `ByteLevel` of `tokenizers`):

    's|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+

It never looks back. A line feed between two characters that are no white space is always a match of its
own, and a space between two such characters always begins one. So a text may be cut on both sides of such a
line feed and before such a space: the ids of the pieces, laid end to end, are those of the whole. The second
cut is made behind a speaker's name: the reply of one example is a line in the prompts of the next ones.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

_LINE_FEED = "\n"


def encode(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """Return the token ids of each text, without special tokens around them.

    Args:
        texts: Those of one conversation should come in one call: nothing is kept between calls.
        tokenizer: Of `transformers`. Any other than a byte-level BPE gets the texts whole.
    """
    if not is_cuttable(tokenizer):
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False).input_ids
        return ids
    cut = [lines_of(text) for text in texts]
    pieces = {line: pieces_of(line) for line in dict.fromkeys(chain.from_iterable(cut))}
    distinct = list(dict.fromkeys(chain([_LINE_FEED], *pieces.values())))
    encoded = tokenizer.backend_tokenizer.encode_batch(distinct, add_special_tokens=False)
    known = {piece: found.ids for piece, found in zip(distinct, encoded, strict=True)}
    lines = {line: [i for piece in some for i in known[piece]] for line, some in pieces.items()}
    return [_laid(some, lines, known[_LINE_FEED]) for some in cut]


def is_cuttable(tokenizer: Any) -> bool:
    """Tell whether a tokenizer splits texts as this module says and does nothing else across a cut."""
    from tokenizers import models, normalizers, pre_tokenizers

    if not tokenizer.is_fast:
        return False
    backend = tokenizer.backend_tokenizer
    before, model, normal = backend.pre_tokenizer, backend.model, backend.normalizer
    added = backend.get_added_tokens_decoder().values()
    return (
        isinstance(before, pre_tokenizers.ByteLevel)
        and before.use_regex
        and not before.add_prefix_space
        and isinstance(model, models.BPE)
        and not model.dropout
        # NFC joins a mark to the character before it, but never to a line feed or a space
        and (normal is None or isinstance(normal, normalizers.NFC))
        and not any(t.lstrip or t.rstrip or t.single_word or _has_space(t.content) for t in added)
        and backend.truncation is None
        and backend.padding is None
    )


def lines_of(text: str) -> list[str]:
    """Cut a text at its line feeds; where one of them is no safe cut, return it whole."""
    lines = text.split(_LINE_FEED)
    filled = lines if lines[-1] else lines[:-1]
    is_safe = all(line and not line[0].isspace() and not line[-1].isspace() for line in filled)
    return lines if is_safe else [text]


def pieces_of(line: str) -> tuple[str, ...]:
    """Cut a line behind the name of its speaker, if it has one."""
    name, _, said = line.partition(": ")
    return (f"{name}:", f" {said}") if said and not said[0].isspace() else (line,)


def _laid(lines: Sequence[str], ids: Mapping[str, list[int]], line_feed: list[int]) -> list[int]:
    laid = list(ids[lines[0]])
    for line in lines[1:]:
        laid += line_feed
        laid += ids[line]
    return laid


def _has_space(text: str) -> bool:
    return any(character.isspace() for character in text)
