"""The long-lived training process of a slot: wait for a trial, train it, wait again.

Runs on every rank inside one Ray Train run. Process group, memory-mapped data and the host copy of the base
weights stay from trial to trial; a trial gets fresh weights and a DeepSpeed engine of its own.
"""

import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import ray
import ray.train
import torch
import torch.distributed as dist

from train_fn.assignment import Assignment, Failure, Message, Refusal
from train_fn.before import evaluate_base
from train_fn.checkpoint_files import remove_all
from train_fn.clock import Clock
from train_fn.config import ModelConfig
from train_fn.departure import Departure
from train_fn.errors import InputError
from train_fn.heartbeat import Pulse, beating
from train_fn.limits import check_vocabulary
from train_fn.loop import train
from train_fn.model import BaseModel, load_base
from train_fn.precision import trial_device
from train_fn.prepared import Prepared, open_prepared
from train_fn.report import Report
from train_fn.tokenizer import save_tokenizer
from train_fn.trial_storage import arrive, keep_notes, keep_weights

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

    def for_trial(self, assignment: Assignment, clock: Clock) -> tuple[BaseModel, Prepared]:
        """Return base model and data of the trial, loading only what changed.

        Raises:
            InputError: The model cannot be read, or has no embedding for a token of the data.
        """
        clock.at("weights")
        model, seed = assignment.config.model, assignment.config.run.seed
        drawn_anew = model.init == "random" and seed != self.seed
        if self.base is None or self.model != model or drawn_anew:
            self.model, self.seed = model, seed
            self.base = load_base(model, seed, Path(assignment.cache))
        clock.at("data")
        if self.prepared is None or self.folder != assignment.prepared:
            self.folder, self.prepared = assignment.prepared, open_prepared(Path(assignment.prepared))
        check_vocabulary(model, self.base.config.vocab_size, self.prepared.report.highest_token)
        return self.base, self.prepared


def work(loop_config: dict[str, Any]) -> None:
    """Train the trials of a slot until its mailbox closes.

    Args:
        loop_config: `mailbox`: handle of the slot's mailbox actor (methods `join`, `next_trial`, `report`,
            `beat` and `is_closed`).
    """
    torch.set_num_threads(1)
    mailbox = loop_config["mailbox"]
    control = dist.new_group(backend="gloo")
    kept, pulse, node = _Kept(), Pulse(), ray.get_runtime_context().get_node_id()
    if dist.get_rank() == 0:
        ray.get(mailbox.join.remote())
    dist.barrier(group=control)  # the mailbox forgets at `join` whom it has heard before
    with beating(pulse, dist.get_rank(), node, mailbox.beat.remote):
        while (assignment := _next_trial(mailbox, control)) != "close":
            if assignment != "wait":
                _train_one(mailbox, assignment, kept, pulse)


def _next_trial(mailbox: Any, control: Any) -> Assignment | Literal["wait", "close"]:
    """Ask the mailbox on rank 0 and tell all ranks, so that they agree on the trial."""
    answer: list[Any] = [None]
    if dist.get_rank() == 0:
        answer[0] = ray.get(mailbox.next_trial.remote(WAIT_S))
    dist.broadcast_object_list(answer, src=0, group=control)
    return cast(Assignment | Literal["wait", "close"], answer[0])


def _train_one(mailbox: Any, assignment: Assignment, kept: _Kept, pulse: Pulse) -> None:
    """Train one trial to its end, or until it is stale.

    Raises:
        Exception: What went wrong on this rank, after it was reported, unless it is alone on a CPU. Other
            ranks may wait in a collective that will not come, and a GPU may be left unusable: Ray Train must
            start the group anew.
    """

    def send(message: Message) -> bool:
        alive: bool = ray.get(mailbox.report.remote(assignment.ticket, message))
        return alive

    def emit(report: Report) -> bool:
        return send(report)

    def departing() -> Departure | None:
        departure = _announced()
        if is_first and departure is not None:
            send(departure)
        return departure

    is_first, clock = dist.get_rank() == 0, Clock(assignment.assigned_at)
    workspace = Path(assignment.workspace)
    pulse.at(0, None)
    try:
        clock.at("data")
        assignment = arrive(assignment)
        workspace = Path(assignment.workspace)
        base, prepared = kept.for_trial(assignment, clock)
        clock.at("evaluate")
        before = evaluate_base(base, assignment.config, prepared, Path(assignment.cache))
        clock.at("tracking")
        if is_first:
            send(before)
        outcome = train(
            assignment.config,
            assignment.trial,
            prepared,
            base,
            workspace,
            emit,
            assignment.assigned_at,
            assignment.skip,
            pulse.at,
            departing,
            clock,
        )
        clock.at("checkpoint")
        if is_first and outcome is None and not ray.get(mailbox.is_closed.remote()):
            remove_all(workspace)  # stopped for good; with its slot it would be taken up again
        if is_first and outcome is not None and outcome.checkpoint is not None:
            save_tokenizer(assignment.config.model, Path(outcome.checkpoint))
        if is_first:
            keep_notes(workspace)
        if is_first and outcome is not None:
            outcome = keep_weights(workspace, outcome)
    except InputError as error:
        send(Refusal(str(error)))
        return
    except Exception as error:
        send(_failure(workspace, error, pulse))
        if dist.get_world_size() > 1 or trial_device().type != "cpu":
            raise
        ray.get(mailbox.join.remote())  # as sound as a new group, which takes a quarter of a minute to start
        return
    pulse.at(0, None)
    if is_first and outcome is not None:
        send(replace(outcome, times=clock.times()))


def _announced() -> Departure | None:
    """Ask Ray whether a machine of this group will be taken away; all ranks meet here and agree."""
    info = ray.train.get_preemption_info()
    if info is None:
        return None
    return Departure(None if info.deadline_ms is None else info.deadline_ms / 1000)


def _failure(workspace: Path, error: Exception, pulse: Pulse) -> Failure:
    """Keep the trace where the reason points to; a trial may fail more than once."""
    log = workspace / "error.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"rank {dist.get_rank()}:\n" + "".join(traceback.format_exception(error)))
    keep_notes(workspace)
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    told = f"{type(error).__name__}: {first_line} (trace in {log.parent.name}/{log.name})"
    return Failure(dist.get_rank(), tuple(kind.__name__ for kind in type(error).__mro__), told, *pulse.now)
