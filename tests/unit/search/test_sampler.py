import math

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from search import told
from search.even import even_point
from search.sampler import MODEL_ALONE, make_sampler
from spaces.experiment import SamplerConfig

SPACE = {
    "optim.lr": FloatDistribution(1e-5, 1.0, log=True),
    "optim.effective_batch_size": CategoricalDistribution((4, 16, 64)),
}


def ask(study: optuna.Study, config: SamplerConfig) -> optuna.Trial:
    number = len(study.trials)
    study.sampler = make_sampler(config, SPACE, number)
    trial = study.ask(dict(SPACE))
    assert trial.number == number
    return trial


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_the_first_trials_lie_evenly_and_the_next_near_the_best(kind: str) -> None:
    config = SamplerConfig(kind=kind, startup_trials=8, seed=3)  # type: ignore[arg-type]
    study = optuna.create_study()
    for number in range(8):
        trial = ask(study, config)
        assert trial.params == even_point(SPACE, 3, number)
        nll = 2 + abs(math.log10(trial.params["optim.lr"]) + 3)
        if kind == "gp":
            study.tell(trial, nll)
        else:
            trial.report(nll, 100)  # none of them ends
    near = [abs(math.log10(ask(study, config).params["optim.lr"]) + 3) for _ in range(4)]
    assert min(near) < 0.7


def test_a_long_search_goes_on_to_look_everywhere() -> None:
    config = SamplerConfig(startup_trials=8, seed=3)
    study = optuna.create_study()
    from_model = []
    for number in range(MODEL_ALONE + 8):
        trial = ask(study, config)
        trial.report(2 + abs(math.log10(trial.params["optim.lr"]) + 3), 100)
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        if trial.params != even_point(SPACE, 3, number):
            from_model.append(number)
    assert from_model == [*range(8, MODEL_ALONE), *range(MODEL_ALONE, MODEL_ALONE + 8, 2)]


def test_nothing_is_learned_before_enough_is_known() -> None:
    config = SamplerConfig(startup_trials=2, seed=3)
    study = optuna.create_study()
    for number in range(6):
        assert ask(study, config).params == even_point(SPACE, 3, number), "all run, none has said a word"


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_the_model_begins_when_enough_is_known_however_few_of_it_are_told(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for most in ("MOST_TOLD_TPE", "MOST_TOLD_GP"):
        monkeypatch.setattr(told, most, 4)
    config = SamplerConfig(kind=kind, startup_trials=8, seed=3)  # type: ignore[arg-type]
    study = optuna.create_study()
    even = []
    for number in range(10):
        trial = ask(study, config)
        trial.report(2 + abs(math.log10(trial.params["optim.lr"]) + 3), 100)
        even.append(trial.params == even_point(SPACE, 3, number))
    assert even == [True] * 8 + [False] * 2
