"""A slot: one Tune actor that trains one trial after another on the same long-lived worker group.

Starting a process group, importing the libraries and loading data and weights takes tens of seconds;
training a small trial takes two. So the worker group is started once per slot and trials are handed to it.

The actor of a slot, its mailbox and the controller that Ray Train may put beside it (`search.groups`) run on
the command's machine and take no CPU; only ranks run elsewhere, so a machine that is lost takes only ranks
with it. They are started where there is room again, and take the trial up from its last checkpoint.
"""

import itertools
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.faults import MAX_GROUPS, Retry
from search.groups import GroupSettings, run_group
from search.mailbox import Mailbox
from search.processes import end_group, machine_gone
from spaces.space import apply
from train_fn.assignment import Assignment, Refusal
from train_fn.config import TrainConfig
from train_fn.report import Evaluation, Outcome, Report

_CLOSE_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class SlotSettings:
    """What every trial of a search shares."""

    base: TrainConfig
    group: GroupSettings
    prepared: str
    trials_folder: str
    cache: str
    store: str = ""
    """Address that the folders are a working copy of; empty for folders that all nodes share."""


def workspace_of(trials_folder: Path, number: int) -> Path:
    """Return the folder of a trial."""
    return trials_folder / f"{number:04d}"


class Slot(tune.Trainable):  # type: ignore[misc]
    """One place where trials run, one after another."""

    def setup(self, config: dict[str, Any], settings: SlotSettings) -> None:
        """Start the worker group and hand it the first trial."""
        self._free_since = time.time()
        self._settings = settings
        self._tickets = 0
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox)
        self._mailbox = actor.remote(machine_gone, settings.group.resources.gpus_per_rank >= 1)
        self._group = threading.Thread(target=self._run_workers, name="worker-group", daemon=True)
        self._group.start()  # before anything that waits for the mailbox: both start at once
        self._submit(config)
        threading.Thread(target=self._end_hanging_groups, name="hang-watchdog", daemon=True).start()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Hand the next trial to the running worker group."""
        if new_config["confirms"] is not None or new_config["finishes"] is not None:
            self._free_since = (
                time.time()
            )  # the slot may have waited for the last trials, which is no start-up
        self._submit(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Wait for the next message of the workers and pass it on to Tune."""
        message = ray.get(self._mailbox.take.remote())
        self._free_since = time.time()
        match message:
            case Report():
                return {"report": message}
            case Outcome():
                return {"outcome": message, "done": True}
            case Retry():
                return {"retry": message}
            case Evaluation():
                return {"baseline": message}
            case Refusal():
                return {"refusal": message.reason, "done": True}
        raise AssertionError(f"unknown message {message!r}")

    def cleanup(self) -> None:
        """Let the workers go home; what does not go is ended with the actor."""
        ray.get(self._mailbox.close.remote())
        self._group.join(_CLOSE_TIMEOUT_S)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: a trial's checkpoints lie in its own folder."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Load nothing."""

    def _submit(self, config: dict[str, Any]) -> None:
        self._tickets += 1
        number = int(config["trial"])
        settings = self._settings
        assignment = Assignment(
            ticket=self._tickets,
            trial=number,
            config=apply(settings.base, config["params"], config["seed"]),
            prepared=settings.prepared,
            workspace=str(workspace_of(Path(settings.trials_folder), number)),
            cache=settings.cache,
            store=settings.store,
            assigned_at=self._free_since,
        )
        ray.get(self._mailbox.submit.remote(assignment))

    def _end_hanging_groups(self) -> None:
        while (hang := ray.get(self._mailbox.hang.remote())) is not None:
            end_group(hang)

    def _run_workers(self) -> None:
        """Keep a worker group running while there are trials."""
        ended, slot = 0, ray.get_runtime_context().get_actor_id()[:12]
        for number in itertools.count():
            try:
                run_group(self._settings.group, f"slot-{slot}-{number}", self._mailbox)
            except Exception as error:  # noqa: BLE001 - the thread's end must be seen by the slot, whatever ended it
                told, ended = f"the worker group of the slot ended: {error}", ended + 1
                if ended == MAX_GROUPS:
                    ray.get(self._mailbox.fail.remote(f"{told}, for the {MAX_GROUPS}th time"))
                    ended = 0
            else:
                ended = 0
            if not ray.get(self._mailbox.awaits_group.remote()):
                return
