"""Find an experiment by its name: `exp4` is the function `experiment` in `spaces.exp4`."""

import importlib
import re
from pathlib import Path

import spaces
from spaces.experiment import Experiment, Profile
from spaces.paths import nearest
from train_fn.errors import InputError

_IS_EXPERIMENT = re.compile(r"^def experiment\(", re.MULTILINE)
"""Looked for in the text: nothing but the experiment that is asked for is imported."""


def experiment_names() -> list[str]:
    """Return the names of the experiments, sorted: the modules in `spaces` that define `experiment`."""
    files = [file for folder in spaces.__path__ for file in Path(folder).glob("*.py")]
    texts = {file.stem: file.read_text(encoding="utf-8", errors="replace") for file in files}
    return sorted(name for name, text in texts.items() if _IS_EXPERIMENT.search(text))


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
