"""What a worker is told to train, and what it may answer."""

from dataclasses import dataclass

from train_fn.config import TrainConfig
from train_fn.departure import Departure
from train_fn.report import Evaluation, Outcome, Report


@dataclass(frozen=True)
class Assignment:
    """A trial for the workers of a slot."""

    ticket: int
    """Counts the assignments of a slot from 1; a report carries it back."""
    trial: int
    config: TrainConfig
    prepared: str
    """Folder of the prepared data."""
    workspace: str
    """Folder of the trial."""
    cache: str
    """Folder of what trials share: the evaluation of the base model."""
    assigned_at: float
    """Unix time at which the slot was free for this trial, or at which it was decided to try it again."""
    store: str = ""
    """Address that the folders are the driver's working copy of; empty for folders that all nodes share."""
    skip: tuple[int, ...] = ()
    """Places in the order of examples at which a step that is left out would begin."""


@dataclass(frozen=True)
class Refusal:
    """What every trial of the search asks for cannot be had: no sense in trying the next one."""

    reason: str
    """One line: the value, the rule, the fix."""


@dataclass(frozen=True)
class Failure:
    """An exception on one rank. Its worker group is of no more use; the slot decides about the trial."""

    rank: int
    kinds: tuple[str, ...]
    """Names of the exception's class and of those it descends from, its own first."""
    told: str
    """One line."""
    steps: int
    """Optimizer steps that were behind."""
    place: int | None
    """Place in the order of examples at which the failed step began; None outside of a step."""


Message = Report | Outcome | Evaluation | Refusal | Failure | Departure
"""What workers send; a bare evaluation is that of the untouched base model."""
