"""Marks that come in pairs: `*actions*` and "quotes"."""

import re

_DOUBLE_QUOTES = str.maketrans("“”„", '"""')


def is_unbalanced(text: str) -> bool:
    """Tell whether `*` or double quotes stand in odd number; an inch mark after a digit is no quote."""
    text = re.sub(r'(?<=\d)"(?!\w)', "", text.translate(_DOUBLE_QUOTES)) if text.count('"') % 2 else text
    return text.count("*") % 2 == 1 or text.translate(_DOUBLE_QUOTES).count('"') % 2 == 1
