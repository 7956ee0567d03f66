"""Figures of one text: how long, how repetitive, how clean, in which language."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.records import SearchRecord
from train_fn.language import SURE_CHARS, detect, has_foreign_script

_CUE = re.compile(r"^([^\n:]{1,40}):\s*\Z", re.MULTILINE)
"""What ends a dialogue's prompt: the name of who speaks next."""


@dataclass(frozen=True)
class Reply:
    """What a model answered."""

    text: str
    ended: bool
    """Whether it said its end token before it had to stop."""


@dataclass(frozen=True)
class SpeechRules:
    """What of the search's cleaning rules replies are held against."""

    markers: tuple[str, ...]
    languages: tuple[str, ...]
    """ISO 639-1 codes that replies may have; empty asks for the language of the reference."""
    language_min_score: float


def speech_rules(search: SearchRecord) -> SpeechRules:
    """Return the rules that the data of a search was cleaned by."""
    clean = search.experiment["base"]["data"]["clean"]
    return SpeechRules(tuple(clean["markers"]), tuple(clean["languages"]), float(clean["language_min_score"]))


def word_count(text: str) -> int:
    """Count words, which white space divides."""
    return len(text.split())


def repetition(text: str, length: int = 4) -> float:
    """Return the share of word n-grams that stood before in the text: 1 - distinct / all.

    This is seq-rep-n of Welleck et al. 2019 (arXiv:1908.04319), on words instead of tokens, so that models
    of different tokenizers compare. A text of fewer than `length` words repeats nothing.
    """
    words = text.casefold().split()
    grams = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def speaker_of(prompt: str) -> str:
    """Return the name a prompt ends with, to be continued after its colon; empty when there is none."""
    found = _CUE.search(prompt)
    return found[1].strip() if found else ""


def leaks(reply: str, speaker: str, markers: Sequence[str]) -> bool:
    """Tell whether a reply goes on where it should have ended: a marker, or the next speaker's turn.

    Args:
        reply: The text.
        speaker: Whose reply it is.
        markers: Texts that stand in no clean reply.
    """
    names = "|".join(re.escape(name) for name in ("You", speaker) if name)
    turn = re.compile(rf"^\s*(?:(?:{names}):|<START>)", re.MULTILINE)
    return bool(turn.search(reply)) or any(marker in reply for marker in markers)


def is_foreign(reply: str, reference: str, rules: SpeechRules) -> bool | None:
    """Tell whether a reply is in another language than it should be; None when that cannot be judged.

    A text is judged from `SURE_CHARS` characters on: below that the detector guesses. A detection below the
    score that the cleaning rules ask for counts as no drift, as it drops no example there.
    """
    text = reply.strip()
    if len(text) < SURE_CHARS:
        return None
    allowed = rules.languages
    if not allowed:
        if len(reference.strip()) < SURE_CHARS:
            return None
        allowed = (detect(reference)[0],)
    if has_foreign_script(text, allowed):
        return True
    language, score = detect(text)
    return score >= rules.language_min_score and language not in allowed
