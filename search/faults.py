"""Why a trial's worker group ended, and what is done about it. Pure: nothing here knows of Ray.

Each cause has a policy of its own:

| cause | the trial is tried again |
|---|---|
| `config` | never: the same values fail the same way |
| `out_of_memory` | with half the micro-batch while the longest example fits; no step changes by it |
| `lost` (a machine died or was taken away) | always, and it does not count |
| `hang`, `collective`, `died`, `unknown` | until `MAX_ATTEMPTS` attempts in a row got no further |

An attempt that took more optimizer steps than all before it begins the count anew. When two faults of the
last row come in the same step, the examples of that step are left out from then on.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from train_fn.assignment import Assignment, Failure
from train_fn.config import TrainConfig
from train_fn.departure import Departure

MAX_ATTEMPTS = 3
"""Attempts in a row that get no further; then the trial has failed."""
MAX_GROUPS = 10
"""Worker groups in a row that ended before they took up a trial, or whose controller died; then the trial has
failed."""
MAX_SKIPPED_STEPS = 8
"""Steps that a trial leaves out at most: data with more faults than that wants cleaning."""

Cause = Literal["config", "out_of_memory", "unknown", "lost", "hang", "died", "collective"]
"""Ordered by how much it explains: a rank that runs out of memory dies, and its death breaks the collectives
of the others."""

_MEMORY = re.compile(
    r"out of memory|can(?:'|no)t allocate memory|running low on memory|OutOfMemoryError", re.I
)
_COLLECTIVE = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|socket timeout|timed out|NCCL|gloo|watchdog", re.I
)
_LOST = re.compile(r"node (has |was |is )?(died|dead|terminated|drained)|preempt|is unavailable", re.I)
"""A machine that vanishes leaves its actors unavailable at first, and dead only seconds later."""
_RAISED = re.compile(r"[\w.]*(Error|Exception)\b")


@dataclass(frozen=True)
class Fault:
    """One reason why a worker group ended."""

    cause: Cause
    told: str
    steps: int
    """Optimizer steps of the trial that were behind."""
    place: int | None
    """Place in the order of examples at which the step under way began; None outside of a step."""
    gpu_full: bool = False
    """Whether it was the memory of a GPU that did not suffice, not that of the machine."""


@dataclass(frozen=True)
class Retry:
    """A trial is tried again after a fault."""

    trial: int
    cause: Cause
    told: str
    """What happened and what is done about it."""
    skipped_examples: int
    """Examples left out from now on that were not left out before."""
    skipped_place: int | None = None
    """Place in the order of examples at which their step begins."""


def fault_of(failure: Failure) -> Fault:
    """Classify an exception on a rank."""
    gpu_full = "OutOfMemoryError" in failure.kinds  # of the host's memory torch raises a `RuntimeError`
    return Fault(_cause_of(failure), failure.told, failure.steps, failure.place, gpu_full)


def _cause_of(failure: Failure) -> Cause:
    if "OutOfMemoryError" in failure.kinds or "MemoryError" in failure.kinds or _MEMORY.search(failure.told):
        return "out_of_memory"
    # Before the first step there are only settings to be wrong, our own or DeepSpeed's.
    starting = failure.steps == 0 and failure.place is None
    if starting and {"ValueError", "DeepSpeedConfigError"} & set(failure.kinds):
        return "config"
    raised_below = {"RuntimeError", "OSError", "TimeoutError"} & set(failure.kinds)
    return "collective" if raised_below and _COLLECTIVE.search(failure.told) else "unknown"


def cause_of_loss(text: str, oom_killed: bool) -> Cause:
    """Classify the death of a process from what Ray says of it.

    Args:
        text: Ray's words. They always name the kernel's OOM killer as one of several possible reasons.
        oom_killed: Whether the kernel has killed a process for memory on the slot's machine meanwhile.
    """
    if _LOST.search(text):
        return "lost"
    return "out_of_memory" if oom_killed or _MEMORY.search(text) else "died"


def departure_told(departure: Departure, checkpoint_tokens: int | None) -> str:
    """Say that a machine is taken away, when, and from where the trial goes on.

    Args:
        departure: As it was announced.
        checkpoint_tokens: Of the trial's newest checkpoint; None without one.
    """
    clock = "soon"
    if departure.deadline is not None:
        clock = time.strftime("at %H:%M", time.localtime(departure.deadline))
    kept = "no checkpoint yet" if checkpoint_tokens is None else f"checkpoint at {checkpoint_tokens:,} tokens"
    return f"machine to be taken away {clock}; {kept}"


def died_early(deaths: Mapping[int, str]) -> str:
    """Say why a worker group ended before it took up a trial; empty where its machine was lost.

    Args:
        deaths: What Ray says of the ranks that ended with an error, by rank.
    """
    if not deaths or any(cause_of_loss(text, False) == "lost" for text in deaths.values()):
        return ""
    lines = deaths[min(deaths)].strip().splitlines() or ["a rank died"]
    raised = [line for line in lines if _RAISED.match(line)]
    return (raised or lines[:1])[-1]


def explaining(faults: Sequence[Fault]) -> Fault:
    """Return the fault that explains the others of the same attempt; of equals the first."""
    return min(faults, key=lambda fault: get_args(Cause).index(fault.cause))


def remedy(assignment: Assignment, faults: Sequence[Fault]) -> tuple[Assignment, str] | None:
    """Return how the trial is tried again and, in words, what changes; None gives it up.

    Args:
        assignment: As it was tried last.
        faults: One for each attempt so far, never empty.
    """
    match faults[-1].cause:
        case "config":
            return None
        case "lost":
            return assignment, "tried again"
        case "out_of_memory":
            return _with_less_memory(assignment)
    counted = [fault for fault in faults if fault.cause not in ("lost", "out_of_memory")]
    if _without_progress(counted) >= MAX_ATTEMPTS:
        return None
    place = faults[-1].place
    if place is None or place in assignment.skip or all(f.place != place for f in counted[:-1]):
        return assignment, "tried again"
    if len(assignment.skip) >= MAX_SKIPPED_STEPS:
        return None
    size = assignment.config.optim.effective_batch_size
    told = f"the second time in this step: its {size} examples are left out"
    return replace(assignment, skip=(*assignment.skip, place)), told


def gave_up(faults: Sequence[Fault]) -> str:
    """Say why a trial is not tried again."""
    last = faults[-1]
    if last.cause == "config":
        return last.told
    if last.cause == "out_of_memory":
        why = "out of memory even with the smallest micro-batch that holds the longest example"
    else:
        why = f"given up after {len(faults)} attempts ({', '.join(fault.cause for fault in faults)})"
    return f"{why}: {last.told}"


def is_final(faults: Sequence[Fault], whole_gpus: bool) -> bool:
    """Tell whether the values of a trial that was given up always fail in this way.

    Args:
        faults: Of all its attempts; a single one of memory may be what its process kept from trials before.
        whole_gpus: Whether no rank shares its GPU. Where ranks do, and in the memory of a machine always, the
            trials beside this one may have taken what it lacked.
    """
    last = faults[-1]
    return last.cause == "config" or (whole_gpus and last.gpu_full and len(faults) > 1)


def _without_progress(faults: Sequence[Fault]) -> int:
    """Count the last attempts that took no more steps than the best attempt before them."""
    count, most = 0, -1
    for fault in faults:
        count = 1 if fault.steps > most else count + 1
        most = max(most, fault.steps)
    return count


def _with_less_memory(assignment: Assignment) -> tuple[Assignment, str] | None:
    config: TrainConfig = assignment.config
    before = config.engine.max_tokens_per_micro_batch
    after = max(before // 2, config.data.max_example_tokens)
    if after == before:
        return None
    engine = replace(config.engine, max_tokens_per_micro_batch=after)
    told = f"tried again with engine.max_tokens_per_micro_batch = {after} instead of {before}"
    return replace(assignment, config=replace(config, engine=engine)), told
