"""Numbers as a person reads them in a line."""

from collections.abc import Mapping


def tokens_text(tokens: float) -> str:
    """Write a number of tokens: `812`, `20.1k`, `1.35M`, `2.10B`."""
    for unit, size, digits in (("B", 1e9, 2), ("M", 1e6, 2), ("k", 1e3, 1)):
        if tokens >= size:
            return f"{tokens / size:.{digits}f}{unit}"
    return f"{tokens:.0f}"


def seconds_text(seconds: float) -> str:
    """Write a duration: `42s`, `3m 05s`, `2h 07m`, `1d 03h`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def params_text(params: Mapping[str, object]) -> str:
    """Write sampled values by the last part of their paths: `lr=0.0001 schedule=cosine`."""
    return " ".join(f"{path.rpartition('.')[2]}={_value(value)}" for path, value in sorted(params.items()))


def trial_id(name: str, trial: int) -> str:
    """Name a trial: experiment and number, `exp4-0007`."""
    return f"{name}-{trial:04d}"


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
