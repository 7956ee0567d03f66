"""Numbers, values and names as a person reads them; one way for every command and page."""

import re
from collections.abc import Mapping, Sequence

from train_fn.confirmation import Confirmation, Confirmed
from train_fn.lead import CLEAR_STDERRS, Lead
from train_fn.times import PARTS, Times


def tokens_text(tokens: float) -> str:
    """Write a number of tokens: `812`, `20.1k`, `1.35M`, `2.10B`."""
    for unit, size, digits in (("B", 1e9, 2), ("M", 1e6, 2), ("k", 1e3, 1)):
        if tokens >= size:
            return f"{tokens / size:.{digits}f}{unit}"
    return f"{tokens:.0f}"


def gib_text(gib: float) -> str:
    """Write a size given in GiB: `512 MiB`, `1.5 GiB`."""
    return f"{gib:,.1f} GiB" if gib >= 1 else f"{1024 * gib:,.0f} MiB"


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


def times_text(times: Times) -> str:
    """Write what a trial spent its time on: `16s (start 1.2s, forward 15s)`, without parts that took none."""
    spent = [f"{part} {seconds_text(times.of(part))}" for part in PARTS if times.of(part) >= 0.05]
    return f"{seconds_text(times.total_s)} ({', '.join(spent)})"


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


def lead_text(lead: Lead, other: str) -> str:
    """Say by how much, below or above what, and whether it exceeds noise; without capital and full stop."""
    size = f"{abs(lead.nll):.4f} ± {lead.stderr:.4f} nats per token {lead_side(lead)} {other}"
    at = "" if lead.at_tokens is None else f" at {tokens_text(lead.at_tokens)} tokens"
    return f"{size}{at}: {lead.verdict} ({CLEAR_STDERRS:g} paired standard errors)"


def lead_side(lead: Lead) -> str:
    """Say on which side of the other eval NLL it lies."""
    return "below" if lead.nll >= 0 else "above"


SEEDS_FAILED = "not confirmed: its runs with other seeds failed"
"""What is said of a best trial none of whose other seeds could tell anything."""


def confirmation_lines(found: Confirmation, name: str) -> list[str]:
    """Say what other seeds made of the best trials, in sentences without a capital and a full stop.

    Args:
        found: The decision.
        name: Of the search.
    """
    lines, best = [], found.of(found.best)
    if best is not None:
        others = count_text(len(best.nlls) - 1, "other seed")
        lines.append(
            f"confirmed with {others}: {', '.join(f'{nll:.4f}' for nll in best.nlls)}, {_mean(best)}"
        )
        lines.append(_seed_lead_text(found, name))
    for one in found.unstable:
        ends = list_text([f"{status} with seed {seed}" for seed, status in one.ends])
        lines.append(f"{trial_id(name, one.trial)} is not confirmed: {ends}")
    return lines


def _seed_lead_text(found: Confirmation, name: str) -> str:
    lead = found.lead
    if lead is None:
        return "no second trial is confirmed, so there is no lead to hold against the noise of seeds"
    size = f"{lead.nll:.4f} against {lead.noise:.4f}"
    if lead.clear:
        second = trial_id(name, lead.second)
        return f"the lead of its mean over {second} exceeds the noise of seeds and examples ({size})"
    rest = [one for one in found.confirmed if one.trial in found.tied and one.trial != found.best]
    names = list_text([f"{trial_id(name, one.trial)} ({_mean(one)})" for one in rest])
    return (
        f"a tie with {names}: the lead of the lowest mean is within the noise of seeds and examples "
        f"({size}); preferred for {found.preferred_for}"
    )


def _mean(one: Confirmed) -> str:
    return f"mean {one.mean:.4f} ± {one.stderr:.4f}"


def markdown_text(text: str) -> str:
    """Write a text on one line so that none of its characters means anything to Markdown."""
    return re.sub(r"([\\`*_|\[\]#~])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
