"""Numbers, values and names as a person reads them; one way for every command and page."""

import re
from collections.abc import Mapping, Sequence


def tokens_text(tokens: float) -> str:
    """Write a number of tokens: `812`, `20.1k`, `1.35M`, `2.10B`."""
    for unit, size, digits in (("B", 1e9, 2), ("M", 1e6, 2), ("k", 1e3, 1)):
        if tokens >= size:
            return f"{tokens / size:.{digits}f}{unit}"
    return f"{tokens:.0f}"


def seconds_text(seconds: float) -> str:
    """Write a duration: `0.4s`, `42s`, `3m 05s`, `2h 07m`, `1d 03h`; a negative one is none."""
    if 0 < seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def value_text(value: object) -> str:
    """Write a configuration value; floats to three digits."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def params_text(params: Mapping[str, object]) -> str:
    """Write sampled values by the last part of their paths: `lr=0.0001 schedule=cosine`."""
    return " ".join(f"{short(path)}={value_text(value)}" for path, value in sorted(params.items()))


def short(path: str) -> str:
    """Return the last part of a dotted path."""
    return path.rpartition(".")[2]


def trial_id(name: str, trial: int) -> str:
    """Name a trial: experiment and number, `exp4-0007`."""
    return f"{name}-{trial:04d}"


def count_text(number: int, noun: str) -> str:
    """Write `1 trial`, `2 trials`, `no trials`."""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def list_text(items: Sequence[str], most: int = 6) -> str:
    """Write `a, b and c`; of more than `most`, `a, b and 5 more`."""
    shown = list(items) if len(items) <= most else [*items[: most - 1], f"{len(items) - most + 1} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"


def markdown_text(text: str) -> str:
    """Write a text on one line so that none of its characters means anything to Markdown."""
    return re.sub(r"([\\`*_|\[\]#~])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
