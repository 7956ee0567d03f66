"""The base model before any trial: what every trial has to improve on."""

from pathlib import Path

from train_fn.config import TrainConfig
from train_fn.evaluate import baseline
from train_fn.model import BaseModel
from train_fn.precision import choose_precision, trial_device
from train_fn.prepared import Prepared
from train_fn.report import Evaluation


def evaluate_base(base: BaseModel, config: TrainConfig, prepared: Prepared, cache_dir: Path) -> Evaluation:
    """Evaluate the untouched base model on the held-out examples, or read what was measured before.

    Raises:
        InputError: The device cannot compute in the precision asked for.
    """
    device = trial_device()
    precision, _ = choose_precision(config.engine.precision, device)
    return baseline(base, config, prepared.eval, prepared.key, precision, device, cache_dir)
