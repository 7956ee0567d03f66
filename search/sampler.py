"""Which Optuna sampler proposes a trial."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from spaces.experiment import SamplerConfig
from train_fn.errors import InputError


class _SpaceTpe(TPESampler):
    """TPE that is told the space: Optuna would compare those of all trials, anew for each proposal."""

    def __init__(self, space: Mapping[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._told = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the space that all trials of a search share."""
        return dict(self._told)


def make_sampler(config: SamplerConfig, space: Mapping[str, BaseDistribution], number: int) -> BaseSampler:
    """Return the sampler that proposes trial `number`.

    TPE is multivariate (Falkner et al. 2018, arXiv:1807.01774, section 4.1: learning rate and batch size
    depend on each other) and takes running trials for bad ones (constant liar), so that slots do not try the
    same.

    Raises:
        InputError: The sampler needs a package that is not installed.
    """
    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
    match config.kind:
        case "tpe":
            startup = config.startup_trials
            return _SpaceTpe(
                space, multivariate=True, constant_liar=True, n_startup_trials=startup, seed=seed
            )
        case "gp":
            try:
                import scipy  # noqa: F401
                import torch  # noqa: F401
            except ModuleNotFoundError as error:
                raise InputError(
                    f"sampler.kind = 'gp' needs the package {error.name}; install it, or set it to tpe"
                ) from error
            return GPSampler(n_startup_trials=config.startup_trials, seed=seed)
        case "random":
            return RandomSampler(seed=seed)
