"""Trials in processes of their own, which can be killed in the middle of an optimizer step and run again."""

import dataclasses
import json
import multiprocessing
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from tests.poisoned import poisoned_base, poisoned_prepared
from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.checkpoint_files import complete_folders
from train_fn.config import LoraConfig
from train_fn.engine import Engine
from train_fn.errors import InputError
from train_fn.loop import train
from train_fn.report import Report

_MEASURED = ("tokens_per_s", "train_s", "start_overhead_s", "seconds", "checkpoint", "times")
"""What no two runs have in common."""


@dataclass(frozen=True)
class Kept:
    """All that a trial said and left, without what was measured by a clock."""

    reports: dict[int, dict[str, Any]]
    """By tokens seen."""
    outcome: dict[str, Any]
    weights: bytes
    starts: list[int]
    """The tokens of the first report of each attempt."""


def run_to_the_end(folder: Path, ranks: int, changes: dict[str, Any], kill_steps: tuple[int, ...]) -> Kept:
    """Run a toy trial, killed once for each of `kill_steps`, and return what was said in all attempts.

    Args:
        folder: Workspace and records.
        ranks: Processes; more than one are joined by gloo.
        changes: Of `toy_train_config`; `poisoned` names examples with a token whose embedding is no number.
        kill_steps: The optimizer step of each attempt, counted from 1, in which it is killed; the first one
            not before there is a checkpoint.
    """
    folder.mkdir(parents=True)
    for attempt, kill_step in enumerate((*kill_steps, 0)):
        codes = _attempt(folder, ranks, changes, attempt, kill_step)
        assert codes[-1] == (-signal.SIGKILL if kill_step else 0), codes
        assert all(bool(code) == bool(kill_step) for code in codes), "the others fell with it, or none did"
    reports: dict[int, dict[str, Any]] = {}
    starts = []
    for attempt in range(len(kill_steps) + 1):
        lines = (folder / f"reports-{attempt}.jsonl").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        starts.append(told[0]["tokens_seen"])
        for report in told:
            assert reports.setdefault(report["tokens_seen"], report) == report
    outcome = json.loads((folder / "outcome.json").read_text())
    weights = (folder / "workspace" / "weights" / "model.safetensors").read_bytes()
    return Kept(reports, outcome, weights, starts)


def _attempt(
    folder: Path, ranks: int, changes: dict[str, Any], attempt: int, kill_step: int
) -> list[int | None]:
    processes = _start(_rank, ranks, folder, changes, attempt, kill_step)
    processes[-1].join(120)  # the one that is killed in its step
    for process in processes[:-1]:
        if kill_step:
            process.kill()
        process.join(120)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def _start(target: Callable[..., None], ranks: int, *args: Any) -> list[Any]:
    context = multiprocessing.get_context("forkserver")  # the libraries are imported once for all attempts
    context.set_forkserver_preload([__name__])
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    processes = [context.Process(target=target, args=(rank, ranks, port, *args)) for rank in range(ranks)]
    for process in processes:
        process.start()
    return processes


def join_group(rank: int, ranks: int, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "RANK": str(rank), "WORLD_SIZE": str(ranks)}
    store = distributed.TCPStore("127.0.0.1", port, ranks, is_master=rank == 0)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=ranks)


def run_with_a_full_disk(folder: Path, ranks: int, changes: dict[str, Any]) -> list[str]:
    """Run a toy trial whose last rank can write no large file; return why each rank gave up."""
    folder.mkdir(parents=True)
    for process in _start(_rank_on_a_full_disk, ranks, folder, changes):
        process.join(120)
        assert process.exitcode == 0
    return [(folder / f"refused-{rank}").read_text() for rank in range(ranks)]


def _rank_on_a_full_disk(rank: int, ranks: int, port: int, folder: Path, changes: dict[str, Any]) -> None:
    join_group(rank, ranks, port)
    if rank == ranks - 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
    try:
        config = toy_train_config(**changes)
        train(config, 0, toy_prepared(), toy_base(), folder / "workspace", lambda _: True, 0.0)
    except InputError as error:
        (folder / f"refused-{rank}").write_text(str(error))


def _rank(
    rank: int, ranks: int, port: int, folder: Path, changes: dict[str, Any], attempt: int, kill_step: int
) -> None:
    join_group(rank, ranks, port)
    if kill_step and rank == ranks - 1:
        _kill_in_step(kill_step, folder / "workspace")

    with open(folder / f"reports-{attempt}.jsonl", "a") as said:

        def emit(report: Report) -> bool:
            print(json.dumps(_unmeasured(dataclasses.asdict(report))), file=said, flush=True)
            return True

        if "model__lora" in changes:
            changes = changes | {"model__lora": LoraConfig(**changes["model__lora"])}
        poisoned = changes.pop("poisoned", None)
        toys = (toy_prepared(), toy_base())
        if poisoned is not None:
            toys = (poisoned_prepared(poisoned), poisoned_base())
        outcome = train(toy_train_config(**changes), 0, *toys, folder / "workspace", emit, 0.0)
    assert outcome is not None
    if rank == 0:
        (folder / "outcome.json").write_text(json.dumps(_unmeasured(dataclasses.asdict(outcome))))


def _kill_in_step(kill_step: int, workspace: Path) -> None:
    """Let this process end itself, as the kernel would, before it takes part in an optimizer step."""
    whole_step, steps = Engine.step, [0]

    def step(*args: Any) -> Any:
        steps[0] += 1
        begun = (workspace / "checkpoints").exists()
        while begun and not complete_folders(workspace):
            time.sleep(0.01)
        if steps[0] >= kill_step and begun:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole_step(*args)

    Engine.step = step  # type: ignore[method-assign]


def _unmeasured(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _unmeasured(value) if isinstance(value, dict) else value
        for name, value in told.items()
        if name not in _MEASURED
    }
