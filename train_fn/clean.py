"""Read examples and drop the dirty ones; every drop has one reason and is counted.

The rules of `text_rules` are asked in their order, and the first that objects is the reason. Then come, each
on what is left: short conversations and exact duplicates here, and in `train_fn.prepare`, once tokens are
known, length, near duplicates and likeness to a held-out one. Length stands before near duplicates so that
an example too long to stay takes no other one with it.
"""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from train_fn import sources
from train_fn.config import CleanConfig, DataConfig
from train_fn.data_report import Drops
from train_fn.duplicates import exact_duplicates
from train_fn.formats import Example, examples, without_ends
from train_fn.language import SURE_CHARS, detect, has_foreign_script
from train_fn.punctuation import is_unbalanced


@dataclass(frozen=True)
class Cleaned:
    """What the rules on text left."""

    examples: list[Example]
    read: int
    """Replies; a broken line, a row of reward other than 1 and a conversation without reply count as one."""
    conversations: int


Rule = Callable[[Example], bool]
"""True drops the example."""


def clean_examples(config: DataConfig, end_of_text: str, drops: Drops) -> Cleaned:
    """Read all sources and apply the rules.

    Args:
        config: Sources, format and rules.
        end_of_text: The tokenizer's end token; empty when there is no tokenizer yet.
        drops: Counts what is dropped.

    Raises:
        InputError: A source cannot be read.
    """
    rules, ends = text_rules(config.clean, end_of_text), _ends(config.clean, end_of_text)
    for name, _ in rules:
        drops.start(name)
    left: list[Example] = []
    read = conversations = 0
    for row in sources.read(config):
        if row is None or isinstance(row, sources.Broken):
            read += 1
            drops.add(
                "reward" if row is None else "broken line", row.place if row else "", row.why if row else ""
            )
            continue
        conversations += 1
        replies = list(examples(row, config.prompt_format, config.max_context_turns, ends))
        if not replies:
            read += 1
            drops.add("no reply", row.place, " → ".join(turn.text for turn in row.turns))
        for example in replies:
            read += 1
            reason = next((name for name, drop in rules if drop(example)), None)
            if reason is None:
                left.append(strip_end(example, config.clean, end_of_text))
            else:
                drops.add(reason, example.id, exchange(example))
    return Cleaned(_drop_across(left, config, drops), read, conversations)


def exchange(example: Example) -> str:
    """Return message and reply as one line for a report."""
    return f"{example.last_message} → {example.reply}"


def _drop_across(left: list[Example], config: DataConfig, drops: Drops) -> list[Example]:
    """Apply the rules that compare examples with each other."""
    clean = config.clean
    if clean.min_median_reply_chars:
        short = short_conversations(left, clean.min_median_reply_chars)
        left = _without(
            left, {i for i, e in enumerate(left) if e.group in short}, "short conversation", drops
        )
    if clean.exact_duplicates:
        left = _without(left, exact_duplicates(left), "exact duplicate", drops)
    return left


def _without(left: list[Example], dropped: set[int], reason: str, drops: Drops) -> list[Example]:
    drops.start(reason)
    for i in sorted(dropped):
        drops.add(reason, left[i].id, exchange(left[i]))
    return [example for i, example in enumerate(left) if i not in dropped]


def text_rules(config: CleanConfig, end_of_text: str) -> list[tuple[str, Rule]]:
    """Return the rules that are switched on, as `(reason, rule)` in the order they are asked.

    Args:
        config: The switches.
        end_of_text: The tokenizer's end token; inside a text it would end the reply early, so it is a marker.
    """
    rules: list[tuple[str, Rule]] = []
    if config.end_token:
        rules.append(("missing end token", lambda e: not e.reply.rstrip().endswith(config.end_token)))
    if config.min_reply_chars:
        rules.append(
            ("too short a reply", lambda e: len(_spoken(e, config, end_of_text)) < config.min_reply_chars)
        )
    if config.markers:
        markers = [*config.markers, *([end_of_text] if end_of_text else [])]
        rules.append(("stray marker", lambda e: _has_marker(e, markers, config, end_of_text)))
    if config.max_repeat:
        repeated = _repetition(config.max_repeat)
        rules.append(
            ("repetition", lambda e: bool(repeated.search(e.reply) or repeated.search(e.last_message)))
        )
    if config.unbalanced:
        rules.append(('unbalanced * or "', lambda e: is_unbalanced(e.reply)))
    if config.languages:
        rules.append(("language", lambda e: _is_foreign(e, config)))
    return rules


def strip_end(example: Example, config: CleanConfig, end_of_text: str) -> Example:
    """Remove the end marks a reply's text carries: the end of a reply is learned once, as the end token."""
    reply = without_ends(example.reply, _ends(config, end_of_text))
    return example if reply == example.reply else replace(example, reply=reply)


def short_conversations(kept: Iterable[Example], min_median_chars: int) -> set[str]:
    """Return the groups whose replies have a median length below `min_median_chars` characters."""
    lengths: dict[str, list[int]] = {}
    for example in kept:
        lengths.setdefault(example.group, []).append(len(example.reply.strip()))
    return {group for group, values in lengths.items() if statistics.median(values) < min_median_chars}


def _ends(config: CleanConfig, end_of_text: str) -> tuple[str, str]:
    """Return the marks that may stand at the end of a reply."""
    return config.end_token, end_of_text


def _spoken(example: Example, config: CleanConfig, end_of_text: str) -> str:
    return without_ends(example.reply, _ends(config, end_of_text)).strip()


def _has_marker(example: Example, markers: Sequence[str], config: CleanConfig, end_of_text: str) -> bool:
    reply = without_ends(example.reply, _ends(config, end_of_text))
    return any(marker in reply or marker in example.prompt for marker in markers)


def _repetition(longest: int) -> re.Pattern[str]:
    """Match one character, or any mix of end punctuation, more than `longest` times in a row."""
    return re.compile(rf"(\S)\1{{{longest},}}|[!?.,;:…]{{{longest + 1},}}")


def _is_foreign(example: Example, config: CleanConfig) -> bool:
    """Judge the reply by its script and by a detector, together with its message when it is short."""
    both = f"{example.last_message} {example.reply}".strip()
    if has_foreign_script(both, config.languages) or has_foreign_script(example.reply, config.languages):
        return True  # however short: a detector guesses there, an alphabet does not
    text = example.reply if len(example.reply) >= SURE_CHARS else both
    if len(text) < config.language_min_chars:
        return False
    language, score = detect(text)
    return score >= config.language_min_score and language not in config.languages
