"""Run whole trials in this process or over two ranks, and keep what must not change."""

import dataclasses
import json
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn
from transformers import AutoModelForCausalLM

from tests.toys import toy_base, toy_prepared, toy_train_config
from train_fn.config import LoraConfig
from train_fn.loop import train
from train_fn.report import Report


@dataclasses.dataclass(frozen=True)
class Kept:
    """Step losses and exported weights of a finished trial."""

    losses: list[float]
    grad_norms: list[float]
    eval_nll: float
    weights: dict[str, torch.Tensor]


def run_trial(folder: Path, kind: str = "gpt_neox", **changes: Any) -> Kept | None:
    """Train a toy for 20 steps or so; None on ranks other than 0."""
    if "model__lora" in changes:
        changes["model__lora"] = LoraConfig(**changes["model__lora"])
    config = toy_train_config(**changes)
    reports: list[Report] = []

    def emit(report: Report) -> bool:
        reports.append(report)
        return True

    outcome = train(config, 0, toy_prepared(), toy_base(kind), folder, emit, 0.0)
    assert outcome is not None
    assert outcome.status == "finished", outcome.reason
    if distributed.get_rank() != 0:
        return None
    assert outcome.eval_nll is not None
    losses = [p.loss for r in reports for p in r.points]
    assert len(losses) == outcome.steps
    weights = AutoModelForCausalLM.from_pretrained(folder / "weights").state_dict()
    return Kept(losses, [r.grad_norm for r in reports], outcome.eval_nll, weights)


def run_trials_on_two_ranks(folder: Path, jobs: list[dict[str, Any]]) -> list[Kept]:
    """Run each job of `run_trial` keywords on two gloo ranks, one after the other in the same processes."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    spawn(run_rank, args=(2, "127.0.0.1", port, str(folder), json.dumps(jobs)), nprocs=2)
    return kept_trials(folder, len(jobs))


def kept_trials(folder: Path, jobs: int) -> list[Kept]:
    """Read what rank 0 of `run_rank` kept."""
    return [torch.load(folder / f"kept-{j}.pt", weights_only=False) for j in range(jobs)]


def run_rank(rank: int, ranks: int, address: str, port: int, folder: str, jobs: str) -> None:
    """Be one rank of a group that runs jobs, given as JSON; rank 0 listens at the address."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    for j, job in enumerate(json.loads(jobs)):
        kept = run_trial(Path(folder) / f"job-{j}", **job)
        if kept is not None:
            torch.save(kept, Path(folder) / f"kept-{j}.pt")
    distributed.destroy_process_group()


def run_here(**job: Any) -> Kept:
    """Run one job on this process alone."""
    with tempfile.TemporaryDirectory() as folder:
        kept = run_trial(Path(folder), **job)
    assert kept is not None
    return kept
