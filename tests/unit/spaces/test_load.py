import re
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
        "from spaces import exp4\n\n\ndef experiment(profile):\n    return exp4.experiment(profile)\n"
    )
    assert "mine" in experiment_names()
    assert "helper" not in experiment_names(), "its text is looked at, it is not imported"
    assert load_experiment("mine", "laptop") == load_experiment("exp4", "laptop")
