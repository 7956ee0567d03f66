"""What became of the data: every row that was read is kept or dropped for one named reason."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from train_fn.errors import InputError
from train_fn.typed import from_plain, load_json

MAX_SHOWN = 20
MAX_SHOWN_CHARS = 300
_REPLYLESS = ("broken line", "no reply")


@dataclass(frozen=True)
class Shown:
    """An example of what a reason dropped, shortened for reading."""

    id: str
    text: str


@dataclass(frozen=True)
class DataReport:
    """Counts of examples; `read == train + eval + sum(dropped)` always.

    Raises:
        ValueError: They do not add up.
    """

    read: int
    """Replies; a broken line, a row of reward other than 1 and a conversation without reply count as one."""
    train: int
    eval: int
    dropped: Mapping[str, int]
    """Reason -> examples, in the order the rules are asked."""
    shown: Mapping[str, tuple[Shown, ...]]
    """Reason -> the first `MAX_SHOWN` examples it dropped."""
    train_tokens: int
    eval_tokens: int
    eval_answer_tokens: int
    sources: tuple[str, ...]
    conversations: int
    shortened: int = 0
    """Kept examples whose prompt holds fewer turns than came before, by `data.max_context_turns`."""
    highest_token: int = 0
    """Highest token id on either side."""
    eval_conversations: int = 0
    """That the held-out replies are of: standard errors count these. Reports from before lack it."""
    max_example_tokens: int = 0
    """What was over-length has more. Reports from before lack it and the next."""
    would_keep: Mapping[str, int] = field(default_factory=dict)
    """Larger `data.max_example_tokens` -> how many of the over-length examples have no more."""

    def __post_init__(self) -> None:
        accounted = self.train + self.eval + sum(self.dropped.values())
        if self.read != accounted:
            raise ValueError(f"{self.read} examples read, {accounted} accounted for")

    @property
    def kept(self) -> int:
        """Examples kept on either side."""
        return self.train + self.eval

    @property
    def replyless(self) -> int:
        """Of what was read, the lines that held no reply: broken ones and conversations without."""
        return sum(self.dropped.get(reason, 0) for reason in _REPLYLESS)


@dataclass
class Drops:
    """Count dropped examples by reason while they are dropped."""

    counts: dict[str, int] = field(default_factory=dict)
    shown: dict[str, list[Shown]] = field(default_factory=dict)
    lengths: list[int] = field(default_factory=list)
    """Tokens of each that is over-length."""

    def start(self, reason: str) -> None:
        """Name a rule that is asked, so that the report shows it even when it drops nothing."""
        self.counts.setdefault(reason, 0)
        self.shown.setdefault(reason, [])

    def add(self, reason: str, id: str, text: str) -> None:
        """Count one example, and keep its text while few are kept for the reason."""
        self.start(reason)
        self.counts[reason] += 1
        some = self.shown[reason]
        if len(some) < MAX_SHOWN:
            short = (
                text
                if len(text) <= MAX_SHOWN_CHARS
                else f"{text[:MAX_SHOWN_CHARS]} … ({len(text)} characters)"
            )
            some.append(Shown(id, short))


def larger_limits(lengths: Sequence[int], limit: int) -> dict[str, int]:
    """Say what the limit two, four and eight times as large keeps; one that keeps no more is left out."""
    kept = {str(limit * times): sum(length <= limit * times for length in lengths) for times in (2, 4, 8)}
    return {larger: count for larger, count in kept.items() if count > kept.get(str(int(larger) // 2), 0)}


def write_report(report: DataReport, path: Path) -> None:
    """Write the report as JSON."""
    path.write_text(
        json.dumps(asdict(report), indent=1, ensure_ascii=False), encoding="utf-8", errors="replace"
    )


def read_report(path: Path) -> DataReport:
    """Read a report back.

    Raises:
        InputError: The file cannot be read, or is no report.
    """
    try:
        return from_plain(DataReport, load_json(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no data report ({error}); remove its folder") from error


def summary_line(report: DataReport) -> str:
    """Say in one line what was kept."""
    dropped, without = sum(report.dropped.values()) - report.replyless, report.replyless
    return (
        f"data: {report.read - without:,} replies read, {dropped:,} dropped, {report.train:,} to train on "
        f"({report.train_tokens:,} tokens), {report.eval:,} held out"
        + (f"; lines without a reply: {without:,}" if without else "")
    )


def report_lines(report: DataReport, examples_per_reason: int = 3) -> list[str]:
    """Write the report as lines: counts by reason, and some examples of each.

    Args:
        report: What to show.
        examples_per_reason: At most `MAX_SHOWN`; the file has them all.
    """
    width = max(len(reason) for reason in [*report.dropped, "kept for training"]) + 2
    replies = f"replies from {_conversations(report.conversations)}"
    if report.replyless:
        replies = f"{report.read - report.replyless:,} {replies}, {report.replyless:,} lines without one"
    lines = [f"sources: {', '.join(report.sources)}", f"{'read':<{width}}{report.read:>10,}  {replies}"]
    for reason, count in report.dropped.items():
        lines.append(f"{reason:<{width}}{count:>10,}  dropped")
        for one in report.shown[reason][:examples_per_reason]:
            lines.append(f"    {one.id}: {one.text!r}")
        if reason == "over-length" and count and report.max_example_tokens:
            lines.append(f"    {_limit_text(report)}")
    lines.append(f"{'kept for training':<{width}}{report.train:>10,}  {report.train_tokens:,} tokens")
    held = f"{report.eval_tokens:,} tokens, {report.eval_answer_tokens:,} of them in answers"
    of = f", from {_conversations(report.eval_conversations)}" if report.eval_conversations else ""
    lines.append(f"{'held out':<{width}}{report.eval:>10,}  {held}{of}")
    if report.shortened:
        lines.append(
            f"{report.shortened:,} of the kept prompts hold only the last turns (data.max_context_turns)"
        )
    return lines


def _limit_text(report: DataReport) -> str:
    more = ", ".join(
        f"{int(limit):,} would keep {count:,} more" for limit, count in report.would_keep.items()
    )
    return f"by data.max_example_tokens = {report.max_example_tokens:,}" + (f"; {more}" if more else "")


def _conversations(number: int) -> str:
    return f"{number:,} conversation{'' if number == 1 else 's'}"
