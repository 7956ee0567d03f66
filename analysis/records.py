"""What is known of a search, as frozen values: everything else in this package computes from these."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train_fn.data_report import DataReport
from train_fn.report import DOOMED, Evaluation, Status
from train_fn.times import Times

TrialStatus = Status | Literal["running"]
Point = tuple[int, float, float, float]
"""Tokens seen, loss, and the loss smoothed by factors of 0.9 and 0.98."""


@dataclass(frozen=True)
class Window:
    """What the report needs of one window of optimizer steps; counts are since the trial began."""

    tokens_seen: int
    steps: int
    points: tuple[Point, ...]
    overflow_steps: int
    spikes: int
    trend: str
    tokens_per_s: float


@dataclass(frozen=True)
class Scored:
    """An evaluation on the held-out examples, and after how many tokens."""

    tokens_seen: int
    evaluation: Evaluation


@dataclass(frozen=True)
class Interval:
    """From when to when, in seconds since the epoch."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True)
class Attempt(Interval):
    """When a slot worked on a trial."""

    gpus: float = 0.0
    """Of the slot: another command may give its slots others."""
    ahead_s: float = 0.0
    """How long before `start` the slot was at it already: a ledger says when Tune knew that it runs, which on
    a slot that starts up is seconds later."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ahead_s + self.end - self.start


@dataclass(frozen=True)
class TrialRecord:
    """One finished, stopped or running trial, read back."""

    search: str
    number: int
    params: Mapping[str, Any]
    """Sampled values by dotted path."""
    config: Mapping[str, Any]
    """The whole `TrainConfig`, nested."""
    status: TrialStatus
    reason: str
    attempts: tuple[Attempt, ...]
    """The last one of a running trial ends with the search's last event."""
    windows: tuple[Window, ...]
    evals: tuple[Scored, ...]
    tokens_seen: int
    steps: int
    overflow_steps: int
    eval_nll: float | None
    eval_nll_stderr: float | None
    train_s: float
    """In optimizer steps; evaluations and checkpoints are not in it."""
    start_overhead_s: float
    """Of the last attempt, from the slot taking it up to its first step."""
    checkpoint: str | None
    confirms: int | None = None
    """The trial that this one repeats with another seed, None for a trial of its own."""
    finishes: int | None = None
    """The halved trial that this one runs again to its end, None for others."""
    times: Times | None = None
    """What all its attempts spent their time on; None where an old ledger does not say."""

    @property
    def id(self) -> str:
        """The name the trial has everywhere: `exp4-0007`."""
        return f"{self.search}-{self.number:04d}"

    @property
    def doomed(self) -> bool:
        """Whether the trial was ended because it could not be saved."""
        return self.status in DOOMED

    @property
    def last_eval(self) -> Scored | None:
        """The last evaluation, None if there was none."""
        return self.evals[-1] if self.evals else None

    @property
    def eval_tokens(self) -> int:
        """After how many tokens `eval_nll` was measured; it may have trained further since."""
        return self.evals[-1].tokens_seen if self.evals else self.tokens_seen

    @property
    def seed(self) -> int:
        """The seed of its training: order of the data, adapters, dropout."""
        return int(self.config["run"]["seed"])

    @property
    def spikes(self) -> int:
        """Spikes since it began."""
        return self.windows[-1].spikes if self.windows else 0

    @property
    def lr(self) -> float:
        """The learning rate."""
        return float(self.config["optim"]["lr"])

    @property
    def effective_batch_size(self) -> int:
        """Examples per optimizer step."""
        return int(self.config["optim"]["effective_batch_size"])


@dataclass(frozen=True)
class Decision:
    """One verdict at a rung, with the numbers behind it; the fields are those of the ledger."""

    trial: int
    bracket: int
    rung: int
    rung_tokens: int
    tokens_seen: int
    value: float
    cutoff: float | None
    paired_difference: float | None
    standard_error: float | None
    peers: int
    keep: bool
    reason: str
    judged_rung: int | None = None
    """Ledgers from before lack it."""


@dataclass(frozen=True)
class SearchRecord:
    """One search, read back."""

    name: str
    folder: Path
    experiment: Mapping[str, Any]
    """The resolved experiment as the last command had it, distributions in Optuna's own form."""
    profile: str
    status: str
    """`finished`, `interrupted`, `failed`, or `running` while its last command has not said that it ended."""
    data_key: str
    """Hash of the prepared data: with the same one, the held-out examples are the same."""
    git_commit: str
    commands: tuple[Interval, ...]
    trials: tuple[TrialRecord, ...]
    """The ones it tried, and the runs that confirm one of them with another seed."""
    decisions: tuple[Decision, ...]
    base: Evaluation | None
    """Of the untrained base model."""
    data_report: DataReport | None

    @property
    def max_tokens(self) -> int:
        """Tokens of a trial that is not stopped."""
        return int(self.experiment["base"]["run"]["max_tokens"])

    @property
    def tried(self) -> tuple[TrialRecord, ...]:
        """The trials it chose, without the runs of one of them again."""
        return tuple(trial for trial in self.own if trial.finishes is None)

    @property
    def own(self) -> tuple[TrialRecord, ...]:
        """The trials it chose and the runs of halved ones to their end: one of these may be the best."""
        return tuple(trial for trial in self.trials if trial.confirms is None)

    @property
    def halved(self) -> tuple[TrialRecord, ...]:
        """The trials that were halved for good: none of them ran again to its end."""
        again = {trial.finishes for trial in self.trials}
        return tuple(t for t in self.trials if t.status == "halved" and t.number not in again)

    @property
    def repeats(self) -> tuple[TrialRecord, ...]:
        """The runs that confirm a trial."""
        return tuple(trial for trial in self.trials if trial.confirms is not None)

    @property
    def planned_trials(self) -> int:
        """How many trials the search may try; the second attempt at a failed one is a trial too."""
        return max(int(self.experiment["budget"]["trials"]), len(self.tried))

    @property
    def wall_s(self) -> float:
        """Wall time of all its commands, without the pauses between them."""
        return sum(command.seconds for command in self.commands)

    @property
    def last_time(self) -> float:
        """When its last event happened, in seconds since the epoch."""
        return self.commands[-1].end

    def trial(self, number: int) -> TrialRecord:
        """Return the trial of that number."""
        return next(trial for trial in self.trials if trial.number == number)
