import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.sampler import make_sampler
from search.steps import out_of_steps, space_in_steps, trial_in_steps
from spaces.experiment import SamplerConfig

BATCHES = (4, 8, 16, 32, 64, 128, 256)
SPACE = {
    "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
    "optim.effective_batch_size": CategoricalDistribution(BATCHES),
    "optim.schedule": CategoricalDistribution(("constant", "linear")),
    "engine.compile": CategoricalDistribution((False, True)),
}
PARAMS = {
    "optim.lr": 0.01,
    "optim.effective_batch_size": 32,
    "optim.schedule": "linear",
    "engine.compile": True,
}


def test_numbers_become_steps_and_nothing_else_does() -> None:
    changed = {**SPACE, "optim.effective_batch_size": IntDistribution(0, 6)}
    assert space_in_steps(SPACE) == changed
    trial = optuna.trial.create_trial(value=2.0, params=PARAMS, distributions=SPACE)
    seen = trial_in_steps(trial)
    assert seen.params == {**PARAMS, "optim.effective_batch_size": 3}
    assert seen.distributions == changed
    assert out_of_steps(seen.params, SPACE) == PARAMS
    assert (trial.params, trial.distributions) == (PARAMS, SPACE), "the trial itself stays"
    assert seen.value == 2.0


def test_the_order_is_that_of_the_numbers_not_of_the_list() -> None:
    space = {"optim.clip_norm": CategoricalDistribution((1.0, 0.1, 10.0))}
    for step, norm in enumerate((0.1, 1.0, 10.0)):
        assert out_of_steps({"optim.clip_norm": step}, space) == {"optim.clip_norm": norm}


def test_what_optuna_noted_of_a_proposal_is_not_read_as_steps() -> None:
    study = optuna.create_study()
    for number in range(6):
        study.sampler = make_sampler(SamplerConfig(kind="gp", startup_trials=2, seed=1), SPACE, number)
        trial = study.ask(dict(SPACE))
        assert trial.params.keys() == SPACE.keys()
        if number < 4:
            study.tell(trial, 2.0 + number / 10)
    noted = study.trials[-1].system_attrs
    assert noted, "Optuna's process keeps what it proposed"
    assert trial_in_steps(study.trials[-1]).system_attrs == {}


@pytest.mark.parametrize(("best", "far"), [(8, 256), (128, 4)])
def test_a_batch_size_is_guessed_from_those_around_it(best: int, far: int) -> None:
    space = {"optim.effective_batch_size": CategoricalDistribution(BATCHES)}
    for seed in range(5):
        study = optuna.create_study()
        for batch in sorted({*BATCHES} - {best, far}):
            nll = 2 + 0.1 * math.log2(batch / best) ** 2
            params = {"optim.effective_batch_size": batch}
            study.add_trial(optuna.trial.create_trial(value=nll, params=params, distributions=space))
        study.sampler = make_sampler(SamplerConfig(kind="gp", startup_trials=2, seed=seed), space, 5)
        assert study.ask(dict(space)).params == {"optim.effective_batch_size": best}, "neither was tried"
