"""Halves of surrogate pairs: JSON and names of files can hold one alone, UTF-8 and tokenizers cannot."""


def half_pair(text: str) -> str:
    r"""Return the first half of a surrogate pair that stands alone, as `'\ud83d'`; empty without one."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return ascii(text[error.start])
    return ""
