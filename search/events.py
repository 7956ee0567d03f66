"""The facts a search writes down as they happen.

The ledger is the one truth of a search: progress, summary, MLflow, the rungs and a continued search are all
computed from these events, in this order, and from nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from search.halving import Decision
from spaces.experiment import ParamValue
from train_fn.report import Evaluation, Outcome, Report


@dataclass(frozen=True)
class SearchStarted:
    """The command began, for the first time or again."""

    time: float
    experiment: Mapping[str, object]
    """The resolved experiment as JSON-able values (`spaces.describe.describe`)."""
    profile: str
    data_key: str
    git_commit: str
    sources: Mapping[str, str] = field(default_factory=dict)
    """Hash of each source file that decides figures (`search.code_version`); ledgers from before lack it."""
    code_change_allowed: bool = False
    """Whether the user let this command go on with code that computes otherwise."""


@dataclass(frozen=True)
class BaselineMeasured:
    """The base model was evaluated, untrained, on the examples that every trial is evaluated on."""

    time: float
    evaluation: Evaluation


@dataclass(frozen=True)
class TrialStarted:
    """A slot took up a trial; `attempt` counts from 0."""

    time: float
    trial: int
    attempt: int
    params: Mapping[str, ParamValue]
    """Sampled values by dotted path."""
    config: Mapping[str, object]
    """The whole `TrainConfig`, nested."""
    confirms: int | None = None
    """The trial whose values are run again with another seed, None for a trial of its own. Ledgers from
    before there were such runs lack it."""
    finishes: int | None = None
    """The halved trial whose values are run again, to their end, since no trial came there; None for others.
    Older ledgers lack it."""


@dataclass(frozen=True)
class Retried:
    """The worker group of a trial ended with a fault, and the trial is taken up again by a new one."""

    time: float
    trial: int
    cause: str
    """One of `search.faults.Cause`."""
    told: str
    """What happened and what is done about it."""
    skipped_examples: int
    """Examples that the trial leaves out from now on, 0 mostly."""
    skipped_place: int | None = None
    """Place in the order of examples at which their step begins: a trial that goes on from a checkpoint from
    before finds the same step again. Ledgers from before lack it."""


@dataclass(frozen=True)
class Reported:
    """A window of a trial arrived."""

    time: float
    report: Report


@dataclass(frozen=True)
class Decided:
    """The halving judged a trial at a rung."""

    time: float
    decision: Decision


@dataclass(frozen=True)
class Ended:
    """A trial ended, for whatever reason."""

    time: float
    outcome: Outcome


@dataclass(frozen=True)
class SearchEnded:
    """The command ended: `finished`, `interrupted` or `failed`."""

    time: float
    status: str
    wall_s: float


@dataclass(frozen=True)
class WeightsRemoved:
    """The weights of a trial that is no longer among the best make room."""

    time: float
    trial: int


@dataclass(frozen=True)
class Paused:
    """No trial is handed out, because the disk is nearly full."""

    time: float
    free_gib: float
    needed_gib: float


@dataclass(frozen=True)
class Resumed:
    """There is room again."""

    time: float
    free_gib: float


Event = (
    SearchStarted
    | BaselineMeasured
    | TrialStarted
    | Retried
    | Reported
    | Decided
    | Ended
    | WeightsRemoved
    | Paused
    | Resumed
    | SearchEnded
)
