"""Which Optuna sampler proposes a trial."""

import math
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from search.even import even_point
from search.steps import out_of_steps, space_in_steps, trial_in_steps
from search.told import tell_gp, tell_tpe, tellable, told_once
from spaces.experiment import SamplerConfig
from train_fn.errors import InputError

GOOD_SHARE, MOST_GOOD = 0.2, 25
"""Of the trials TPE takes this share for good ones, at most so many (Optuna's own limit)."""
MODEL_ALONE = 40
"""After so many trials every second one comes from the even points again: where early rungs mislead, a model
of them looks in the wrong place for ever. BOHB (arXiv:1807.01774) draws a third at random."""


def make_sampler(config: SamplerConfig, space: Mapping[str, BaseDistribution], number: int) -> BaseSampler:
    """Return the sampler that proposes trial `number`.

    TPE is multivariate (Falkner et al. 2018, arXiv:1807.01774, section 4.1: learning rate and batch size
    depend on each other) and takes running trials of which nothing is known for bad ones (constant liar), so
    that slots do not try the same.

    Raises:
        InputError: The sampler needs a package that is not installed.
    """
    seed = int(np.random.SeedSequence((config.seed, number)).generate_state(1)[0])
    match config.kind:
        case "tpe":
            return _Told(config, space, _tpe(seed), tell_tpe)
        case "gp":
            try:
                import scipy  # noqa: F401
                import torch  # noqa: F401
            except ModuleNotFoundError as error:
                raise InputError(
                    f"sampler.kind = 'gp' needs the package {error.name}; install it, or set it to tpe"
                ) from error
            return _ToldInSteps(config, space, GPSampler(n_startup_trials=1, seed=seed), tell_gp)
        case "random":
            return RandomSampler(seed=seed)


def _tpe(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # `gamma` goes with Optuna 6
        return TPESampler(
            multivariate=True, constant_liar=True, n_startup_trials=1, gamma=_good_ones, seed=seed
        )


def _good_ones(trials: int) -> int:
    """Return how many trials TPE takes for good ones: by default a tenth, which of ten is one lucky trial."""
    return min(math.ceil(GOOD_SHARE * trials), MOST_GOOD)


Tell = Callable[[Sequence[FrozenTrial]], list[FrozenTrial]]


class _Told(BaseSampler):
    """A sampler that is told the space, and of the other trials what it would otherwise misread.

    Optuna would compare the spaces of all trials, anew for each proposal. Until enough trials are known the
    points fill the space evenly, and long searches mix both.
    """

    def __init__(
        self, config: SamplerConfig, space: Mapping[str, BaseDistribution], sampler: BaseSampler, tell: Tell
    ) -> None:
        self._config, self._sampler, self._tell = config, sampler, tell
        self._space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the space that all trials of a search share."""
        return dict(self._space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the values of a trial."""
        if trial.number < MODEL_ALONE or trial.number % 2 == 0:
            others = [
                one
                for one in told_once(study.get_trials(deepcopy=False))
                if one.number != trial.number and tellable(one)
            ]
            # Of all, not of those that are told: they are never more than `search.told` lets through.
            known = sum(one.state != TrialState.RUNNING or bool(one.intermediate_values) for one in others)
            if known >= self._config.startup_trials:
                return self._propose(study, trial, self._tell(others))
        return dict(even_point(self._space, self._config.seed, trial.number))

    def _propose(self, study: optuna.Study, trial: FrozenTrial, told: list[FrozenTrial]) -> dict[str, Any]:
        return self._sampler.sample_relative(_Study(study, told), trial, self._space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return a value that a known good point leaves open."""
        return even_point({param_name: param_distribution}, self._config.seed, trial.number)[param_name]


class _ToldInSteps(_Told):
    """The same for a sampler that should know of choices that are numbers in which order they stand."""

    def _propose(self, study: optuna.Study, trial: FrozenTrial, told: list[FrozenTrial]) -> dict[str, Any]:
        seen = _Study(study, [trial_in_steps(one) for one in told])
        values = self._sampler.sample_relative(seen, trial, space_in_steps(self._space))
        return out_of_steps(values, self._space)


class _Study(optuna.Study):
    """A study as its sampler is to see it."""

    def __init__(self, study: optuna.Study, told: list[FrozenTrial]) -> None:
        super().__init__(study.study_name, study._storage, study.sampler)
        self._told = told

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [one for one in self._told if states is None or one.state in states]
