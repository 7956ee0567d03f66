import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

import spaces
from spaces.experiment import Profile
from spaces.load import experiment_names, load_experiment
from train_fn.errors import InputError

OTHERS = sorted({file.stem for file in Path(spaces.__path__[0]).glob("*.py")} - set(experiment_names()))


@pytest.mark.parametrize("name", experiment_names())
@pytest.mark.parametrize("profile", get_args(Profile))
def test_every_experiment_loads_under_both_profiles(name: str, profile: Profile) -> None:
    experiment = load_experiment(name, profile)
    assert (experiment.name, experiment.profile) == (name, profile)


@pytest.mark.parametrize("name", ["exp0", "exp3", "exp4"])
@pytest.mark.parametrize("profile", get_args(Profile))
def test_a_description_names_neither_model_nor_data_which_set_changes(name: str, profile: Profile) -> None:
    described = load_experiment(name, profile).description
    assert "earning rate" in described
    assert not re.search(r"bundled|\dM|\d ?B|GPT|dialogue|CPU|GPU", described)
    assert ("(UFT)" in described, "(SFT)" in described) == (name == "exp3", name == "exp4")


def test_the_shipped_experiments_are_known() -> None:
    assert {"exp0", "exp3", "exp4"} <= set(experiment_names())


@pytest.mark.parametrize("name", OTHERS)
def test_what_helps_experiments_is_none(name: str) -> None:
    with pytest.raises(InputError, match=rf"there is no experiment '{name}'"):
        load_experiment(name, "laptop")


def test_unknown_experiment_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'exp4'"):
        load_experiment("exp44", "laptop")


def test_a_new_file_is_an_experiment_when_it_defines_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spaces, "__path__", [*spaces.__path__, str(tmp_path)])
    (tmp_path / "helper.py").write_text("from spaces.exp4 import experiment\nraise RuntimeError\n")
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\nfrom spaces import exp4\n\n\n"
        "def experiment(profile):\n    return replace(exp4.experiment(profile), name='mine')\n"
    )
    assert "mine" in experiment_names()
    assert "helper" not in experiment_names(), "its text is looked at, it is not imported"
    assert load_experiment("mine", "laptop") == replace(load_experiment("exp4", "laptop"), name="mine")


COPY = "from dataclasses import replace\nfrom optuna.distributions import *\nfrom spaces import exp4\n\n"
"""Line 5 is the function of the file, line 6 what it returns."""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("3", ": experiment() returned 3, which is no Experiment"),
        ("unknown", ":6: NameError: name 'unknown' is not defined"),
        ("(", ":6: SyntaxError: '(' was never closed"),
        ("exp4.experiment()", ":6: TypeError: experiment() missing 1 required"),
        ("exp4.experiment(profile)", ": name = 'exp4' must be that of the file; write name='own{number}'"),
        (
            "{own}, space={{'optim.lr': (1, 2)}})",
            ": space['optim.lr'] = (1, 2) is no distribution; write Float",
        ),
        ("{own}, space={{'optim.lr': FloatDistribution(2, 1)}})", ":6: ValueError: "),
        ("{own}, space=[])", ": space = [] is no Mapping; give one"),
        ("{own}, budget=16)", ": budget = 16 is no BudgetConfig; give one"),
        ("{own}, known_good={{'optim.lr': 1e-3}})", ": known_good = {{'optim.lr': 0.001}} is no tuple"),
        ("{own}, known_good=('optim.lr',))", ": known_good holds 'optim.lr', which is no point"),
        ("{own}, space={{3: FloatDistribution(1, 2)}})", ": space has the key 3, which is no path"),
        (None, " has no function `def experiment(profile)`"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_it(
    body: str | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(spaces, "__path__", [*spaces.__path__, str(tmp_path)])
    name = f"own{abs(hash(request.node.name))}"  # what was imported once is not looked at again
    values = {"own": f"replace(exp4.experiment(profile), name={name!r}", "number": name[3:]}
    function = "" if body is None else f"def experiment(profile):\n    return {body.format(**values)}\n"
    (tmp_path / f"{name}.py").write_text(COPY + function)
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/{name}.py{said.format(**values)}")):
        load_experiment(name, "laptop")
