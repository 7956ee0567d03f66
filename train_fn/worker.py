"""The long-lived training process of a slot: wait for a trial, train it, wait again.

Runs on every rank inside one Ray Train run. Process group, memory-mapped data and the host copy of the base
weights stay from trial to trial; a trial gets fresh weights and a DeepSpeed engine of its own.
"""

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import ray
import torch
import torch.distributed as dist

from train_fn.assignment import Assignment, Message, Refusal
from train_fn.before import evaluate_base
from train_fn.checkpoint_files import remove_all
from train_fn.config import ModelConfig
from train_fn.errors import InputError
from train_fn.loop import train
from train_fn.model import BaseModel, load_base
from train_fn.prepared import Prepared, open_prepared
from train_fn.report import Outcome, Report
from train_fn.tokenizer import save_tokenizer

WAIT_S = 5.0
"""How long one question for the next trial stays open; the ranks meet again after each."""


@dataclass
class _Kept:
    """What stays in memory from trial to trial, with the settings it was loaded for."""

    model: ModelConfig | None = None
    seed: int = 0
    """Which weights `init="random"` drew; pretrained ones are the same for every seed."""
    base: BaseModel | None = None
    folder: str = ""
    prepared: Prepared | None = None

    def for_trial(self, assignment: Assignment) -> tuple[BaseModel, Prepared]:
        """Return base model and data of the trial, loading only what changed."""
        model, seed = assignment.config.model, assignment.config.run.seed
        drawn_anew = model.init == "random" and seed != self.seed
        if self.base is None or self.model != model or drawn_anew:
            self.model, self.seed = model, seed
            self.base = load_base(model, seed, Path(assignment.cache))
        if self.prepared is None or self.folder != assignment.prepared:
            self.folder, self.prepared = assignment.prepared, open_prepared(Path(assignment.prepared))
        return self.base, self.prepared


def work(loop_config: dict[str, Any]) -> None:
    """Train the trials of a slot until its mailbox closes.

    Args:
        loop_config: `mailbox`: handle of the slot's mailbox actor (methods `next_trial`, `report` and
            `is_closed`).
    """
    torch.set_num_threads(1)
    mailbox = loop_config["mailbox"]
    control = dist.new_group(backend="gloo")
    kept = _Kept()
    while (assignment := _next_trial(mailbox, control)) != "close":
        if assignment != "wait":
            _train_one(mailbox, assignment, kept)


def _next_trial(mailbox: Any, control: Any) -> Assignment | Literal["wait", "close"]:
    """Ask the mailbox on rank 0 and tell all ranks, so that they agree on the trial."""
    answer: list[Any] = [None]
    if dist.get_rank() == 0:
        answer[0] = ray.get(mailbox.next_trial.remote(WAIT_S))
    dist.broadcast_object_list(answer, src=0, group=control)
    return cast(Assignment | Literal["wait", "close"], answer[0])


def _train_one(mailbox: Any, assignment: Assignment, kept: _Kept) -> None:
    """Train one trial to its end, or until it is stale; whatever goes wrong becomes its outcome.

    Raises:
        Exception: What went wrong on one of several ranks, after it was reported: the other ranks wait in a
            collective that will not come, so Ray Train must start the group anew.
    """

    def send(message: Message) -> bool:
        alive: bool = ray.get(mailbox.report.remote(assignment.ticket, message))
        return alive

    def emit(report: Report) -> bool:
        return send(report)

    is_first = dist.get_rank() == 0
    workspace = Path(assignment.workspace)
    try:
        base, prepared = kept.for_trial(assignment)
        before = evaluate_base(base, assignment.config, prepared, Path(assignment.cache))
        if is_first:
            send(before)
        outcome = train(
            assignment.config, assignment.trial, prepared, base, workspace, emit, assignment.assigned_at
        )
        if is_first and outcome is None and not ray.get(mailbox.is_closed.remote()):
            remove_all(workspace)  # stopped for good; with its slot it would be taken up again
        if is_first and outcome is not None and outcome.checkpoint is not None:
            save_tokenizer(assignment.config.model, Path(outcome.checkpoint))
    except InputError as error:
        send(Refusal(str(error)))
        return
    except Exception as error:
        # One trial's failure must not end the slot; the trace is kept where the reason points to.
        outcome = _failure(assignment, error)
        remove_all(workspace)
        if dist.get_world_size() > 1:
            send(outcome)
            raise
    if is_first and outcome is not None:
        send(outcome)


def _failure(assignment: Assignment, error: Exception) -> Outcome:
    log = Path(assignment.workspace) / "error.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(traceback.format_exception(error)))
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    reason = f"{type(error).__name__}: {first_line} (trace in {log.parent.name}/{log.name})"
    return Outcome(assignment.trial, "failed", reason, 0, 0, 0, None, None, 0.0, 0.0, None)
