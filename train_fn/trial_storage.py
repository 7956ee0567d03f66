"""What a trial does with an object store: it works on its node's disk, and what must last is sent.

On the store a trial's `checkpoints/tokens-<n>` and `weights` have the same names as here. A checkpoint counts
only once it is there whole, and is taken up only by a trial of the very configuration and data it was made
for: the working copy of another search may have left one of the same name.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

from torch import distributed

from train_fn.assignment import Assignment
from train_fn.checkpoint_files import KEPT, complete_folder, complete_folders, find_problem, remove_all
from train_fn.errors import InputError
from train_fn.ranks import from_all_ranks
from train_fn.report import Outcome
from train_fn.working_copy import (
    Place,
    fetch_folder,
    place_of,
    remove_from_store,
    send_file,
    send_folder,
    whole_folders,
    working_copy,
)

_KEY = "made_for"
"""File in a trial's workspace: the key of its checkpoints."""


def arrive(assignment: Assignment) -> Assignment:
    """Bring what a trial needs to this node; every rank must call it, and all are on one node.

    Returns:
        The assignment with folders of this node; as it was where all nodes share the storage folder.

    Raises:
        InputError: The store does not give it. The same on all ranks.
    """
    if not assignment.store:
        return assignment
    there = Path(assignment.cache).parent  # the driver's working copy
    here = working_copy(assignment.store)

    def local(folder: str) -> str:
        return str(here / Path(folder).relative_to(there))

    settled = replace(
        assignment,
        prepared=local(assignment.prepared),
        workspace=local(assignment.workspace),
        cache=local(assignment.cache),
    )
    sound, problem = _bring(settled)
    told = from_all_ranks(problem)  # from here on no rank reads another checkpoint than the sound one
    first = next((one for one in told if one), "")
    if first:
        raise InputError(first)
    if distributed.get_rank() == 0:
        for folder in complete_folders(Path(settled.workspace)):
            if folder != sound:
                shutil.rmtree(folder)
    return settled


def keep_checkpoint(workspace: Path, tokens_seen: int) -> None:
    """Send a checkpoint that was just completed, and remove from the store all but `KEPT`.

    A trial that runs alone, outside of a search, keeps its checkpoints here.

    Raises:
        InputError: The store does not take it.
    """
    place = place_of(workspace / "checkpoints")
    if place is None or not (workspace / _KEY).is_file():
        return
    folder = complete_folder(workspace, tokens_seen)
    try:
        send_folder(folder, (workspace / _KEY).read_text())
    except FileNotFoundError:
        if folder.is_dir():
            raise
        return  # the search, which runs on this node too, removed it meanwhile: the trial is over
    for old in whole_folders(place)[:-KEPT]:
        remove_from_store(Place(place.address, f"{place.name}/{old}"))


def keep_weights(workspace: Path, outcome: Outcome) -> Outcome:
    """Send the weights of a trial that has ended, and remove from this node's disk what is on the store.

    Returns:
        The outcome, with the weights' address in place of their folder.

    Raises:
        InputError: The store does not take them.
    """
    if place_of(workspace) is None:
        return outcome
    if outcome.checkpoint is not None:
        weights = Path(outcome.checkpoint)
        send_folder(weights)
        outcome = replace(outcome, checkpoint=str(place_of(weights)))
        shutil.rmtree(weights, ignore_errors=True)  # it is on the store; what stays here is only in the way
    remove_all(workspace)
    return outcome


def keep_notes(workspace: Path) -> None:
    """Send the small files of a trial; trouble is one line in the worker's log, the files stay here."""
    for name in ("error.log", "skipped_examples.jsonl"):
        try:
            if (workspace / name).is_file():
                send_file(workspace / name)
        except InputError as error:
            print(f"{workspace / name} is on this node only: {error}", flush=True)


def _bring(assignment: Assignment) -> tuple[Path | None, str]:
    """Bring the data and the newest sound checkpoint; return it, and what went wrong: empty when nothing."""
    prepared, workspace = Path(assignment.prepared), Path(assignment.workspace)
    try:
        if not prepared.is_dir() and not fetch_folder(prepared):
            return None, f"the prepared data is not on the store: {place_of(prepared)} is gone; start again"
        return _bring_checkpoint(workspace, _key(assignment)), ""
    except InputError as error:
        return None, str(error)


def _bring_checkpoint(workspace: Path, key: str) -> Path | None:
    place = place_of(workspace / "checkpoints")
    assert place is not None, f"{workspace} is in no working copy"
    (workspace / "checkpoints").mkdir(parents=True, exist_ok=True)
    (workspace / _KEY).write_text(key)
    for name in reversed(whole_folders(place)):
        folder = workspace / "checkpoints" / name
        if fetch_folder(folder, key) and find_problem(folder, 0, 1) is None:
            return folder
        remove_from_store(Place(place.address, f"{place.name}/{name}"))  # damaged, or of another search
    return None


def _key(assignment: Assignment) -> str:
    """Name what a checkpoint belongs to, without what may change before a trial is taken up again."""
    config = assignment.config
    made_for = f"{config.model!r} {config.optim!r} {config.run.seed} {Path(assignment.prepared).name}"
    return hashlib.blake2b(made_for.encode(), digest_size=16).hexdigest()
