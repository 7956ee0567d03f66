"""Find an experiment by its name: `exp4` is the function `experiment` in `spaces.exp4`."""

import importlib
import pkgutil

import spaces
from spaces.experiment import Experiment, Profile
from spaces.paths import nearest
from train_fn.errors import InputError

_NOT_EXPERIMENTS = {"describe", "experiment", "load", "override", "paths", "promotion", "space", "words"}


def experiment_names() -> list[str]:
    """Return the names of the experiments in `spaces`, sorted."""
    names = {module.name for module in pkgutil.iter_modules(spaces.__path__)}
    return sorted(names - _NOT_EXPERIMENTS)


def load_experiment(name: str, profile: Profile) -> Experiment:
    """Return the experiment of that name under a profile.

    Raises:
        InputError: There is no such experiment.
    """
    names = experiment_names()
    if name not in names:
        raise InputError(f"there is no experiment {name!r}{nearest(name, names)} (one file each in spaces/)")
    module = importlib.import_module(f"spaces.{name}")
    experiment: Experiment = module.experiment(profile)
    return experiment
