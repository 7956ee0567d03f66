import re
import warnings
from dataclasses import replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from spaces.experiment import Experiment
from spaces.load import load_experiment
from spaces.override import override
from spaces.space import apply, check_space, contains
from train_fn.errors import InputError


@pytest.fixture
def laptop() -> Experiment:
    return load_experiment("exp4", "laptop")


@pytest.mark.parametrize("name", ["exp3", "exp4"])
@pytest.mark.parametrize("profile", ["cluster", "laptop"])
def test_shipped_experiments_can_be_searched(name: str, profile: str) -> None:
    experiment = load_experiment(name, profile)  # type: ignore[arg-type]
    check_space(experiment)
    assert experiment.profile == profile
    assert experiment.space["optim.effective_batch_size"].choices == (4, 8, 16, 32, 64, 128, 256)  # type: ignore[attr-defined]
    assert experiment.space["optim.lr"].log  # type: ignore[attr-defined]


def test_a_run_that_confirms_a_trial_differs_in_its_seed_alone(laptop: Experiment) -> None:
    params = {"optim.lr": 0.01}
    own, again = apply(laptop.base, params), apply(laptop.base, params, seed=3)
    assert again.run.seed == 3 != own.run.seed
    assert replace(again, run=own.run) == own
    searched = {**params, "run.seed": 8}
    assert (apply(laptop.base, searched).run.seed, apply(laptop.base, searched, seed=9).run.seed) == (8, 9)


def test_searches_confirm_their_best_but_the_one_that_makes_the_base_model() -> None:
    confirms = {name: load_experiment(name, "laptop").confirm.top for name in ("exp0", "exp3", "exp4")}
    assert (confirms["exp0"], confirms["exp3"], confirms["exp4"] >= 2) == (0, confirms["exp4"], True)


def test_the_logbooks_points_come_first_in_the_cluster_profile() -> None:
    points = load_experiment("exp4", "cluster").known_good
    pairs = [(p["optim.effective_batch_size"], p["optim.lr"]) for p in points]
    assert pairs == [(64, 1e-6), (32, 5e-6), (256, 0.98e-5)]


def test_exp3_differs_from_exp4_in_its_objective_alone() -> None:
    uft, sft = load_experiment("exp3", "cluster"), load_experiment("exp4", "cluster")
    assert uft.base.optim.objective == "clm"
    assert replace(uft.base, optim=replace(uft.base.optim, objective="response")) == sft.base


def test_apply_puts_values_in_their_places(laptop: Experiment) -> None:
    config = apply(laptop.base, {"optim.lr": 0.5, "optim.objective": "clm"})
    assert (config.optim.lr, config.optim.objective) == (0.5, "clm")
    assert config.data is laptop.base.data


def test_a_space_that_cannot_be_searched_is_refused(laptop: Experiment) -> None:
    with pytest.raises(InputError, match="is empty"):
        check_space(replace(laptop, space={}, known_good=()))
    with pytest.raises(InputError, match=r"did you mean 'optim\.lr'"):
        check_space(replace(laptop, space={"optim.lrr": FloatDistribution(0.1, 1)}))
    with pytest.raises(InputError, match="must not exceed"):
        check_space(replace(laptop, space={"optim.warmup_tokens": IntDistribution(0, 10**9)}, known_good=()))
    with pytest.raises(InputError, match="is outside"):
        check_space(replace(laptop, known_good=({"optim.lr": 7.0},)))
    with pytest.raises(InputError, match="not in the space"):
        check_space(replace(laptop, known_good=({"optim.beta1": 0.5},)))


def test_a_value_of_the_space_that_is_refused_is_not_blamed_on_the_user(laptop: Experiment) -> None:
    short = ["run.max_tokens=3000"]
    told = (
        r"^optim\.warmup_tokens = 12000 must not exceed run\.max_tokens = 3000, and 12000 is the upper "
        r"end of what exp4 searches for optim\.warmup_tokens; set one value "
        r"\(--set (optim\.warmup_tokens=0)\), or"
    )
    with pytest.raises(InputError, match=told) as refused:
        check_space(override(laptop, short))
    offer = re.search(told, str(refused.value))
    assert offer is not None
    check_space(override(laptop, [*short, offer[1]]))
    negative = {**laptop.space, "optim.beta2": CategoricalDistribution((0.9, 7.0))}
    with pytest.raises(InputError, match=r"7\.0 is one of the values of what exp4 searches for optim\.beta2"):
        check_space(replace(laptop, space=negative))


@pytest.mark.parametrize(
    ("path", "choices", "why"),
    [
        ("data.max_context_turns", (0, 2), "the data is prepared once"),
        ("data.max_example_tokens", (32, 64), "the data is prepared once"),
        ("data.clean.max_repeat", (0, 6), "the data is prepared once"),
        ("model.path", ("bundled", "org/other"), "the data is prepared once"),
        ("run.max_tokens", (120_000, 240_000), "trials are judged at the same tokens"),
        ("run.window_tokens", (2_000, 6_000), "trials are judged at the same tokens"),
    ],
)
def test_what_all_trials_share_is_not_searched(
    laptop: Experiment, path: str, choices: tuple[int | str, ...], why: str
) -> None:
    shared = replace(laptop, space={**laptop.space, path: CategoricalDistribution(choices)})
    with pytest.raises(
        InputError, match=rf"holds '{path}', which all trials share: {why}.*--set {path}="
    ) as e:
        check_space(shared)
    assert "\n" not in str(e.value)
    check_space(override(shared, [f"{path}={choices[0]}"]))


@pytest.mark.parametrize("path", ["data.weights", "model.lora.rank", "run.seed"])
def test_what_each_trial_reads_for_itself_is_searched(laptop: Experiment, path: str) -> None:
    choices = ((1.0, 1.0), (1.0, 2.0)) if path == "data.weights" else (0, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna would rather have no tuples
        check_space(replace(laptop, space={**laptop.space, path: CategoricalDistribution(choices)}))


def test_contains() -> None:
    assert contains(CategoricalDistribution((4, 8)), 8)
    assert not contains(CategoricalDistribution((4, 8)), 9)
    assert not contains(FloatDistribution(1e-6, 1e-4, log=True), 1e-3)
    assert not contains(FloatDistribution(1e-6, 1e-4, log=True), "much")
