"""Ray's documented way to search over trainings, which others are measured by.

Tune runs a function for each trial, and the function starts a `TorchTrainer` whose reports a callback passes
on (Ray 2.60, "Hyperparameter Tuning with Ray Tune" in the user guides of Ray Train). The trial inside is
ours, word for word: the same steps, evaluations, checkpoints and weights.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train_fn.config import TrainConfig

WORKER_CPUS = 0.9
DRIVER_CPUS = 0.1
"""The function of a trial only waits: with so little for it, as many trials run at once as with slots."""


@dataclass(frozen=True)
class Shared:
    """What all trials have in common."""

    base: TrainConfig
    prepared: str
    """Folder of the prepared data."""
    folder: str
    """Where trials and Ray keep their files."""


def run_trial(tuned: dict[str, Any], shared: Shared) -> None:
    """Train the trial of one Tune trial; `tuned` is its point in the space, by dotted path."""
    from ray import train, tune
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    name = tune.get_context().get_trial_id()
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"tuned": tuned, "shared": shared, "name": name},
        scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": WORKER_CPUS}),
        run_config=train.RunConfig(
            name=f"train-{name}",
            storage_path=f"{shared.folder}/ray",
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def train_worker(loop_config: dict[str, Any]) -> None:
    """Train one trial on the worker and report its evaluations."""
    import ray.train
    import torch

    from spaces.space import apply
    from train_fn.loop import train
    from train_fn.model import load_base
    from train_fn.prepared import open_prepared
    from train_fn.report import Report
    from train_fn.tokenizer import save_tokenizer

    torch.set_num_threads(1)
    shared: Shared = loop_config["shared"]
    config = apply(shared.base, loop_config["tuned"])

    def emit(report: Report) -> bool:
        if report.eval is not None:
            figures = {"loss": report.loss, "lr": report.lr, "grad_norm": report.grad_norm}
            figures |= {"tokens_seen": report.tokens_seen, "eval_nll": report.eval.nll}
            ray.train.report(figures | {"train_s": report.train_s})
        return True

    workspace = Path(shared.folder) / "trials" / loop_config["name"]
    prepared, base = open_prepared(Path(shared.prepared)), load_base(config.model)
    outcome = train(config, 0, prepared, base, workspace, emit, time.time())
    if outcome is not None and outcome.checkpoint is not None:
        save_tokenizer(config.model, Path(outcome.checkpoint))
