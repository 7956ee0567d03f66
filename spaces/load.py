"""Find an experiment by its name: `exp4` is the function `experiment` in `spaces.exp4`."""

import importlib
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import get_origin, get_type_hints

from optuna.distributions import BaseDistribution

import spaces
from spaces.experiment import Experiment, Profile
from spaces.paths import nearest
from train_fn.errors import InputError

_IS_EXPERIMENT = re.compile(r"^def experiment\(", re.MULTILINE)
"""Looked for in the text: nothing but the experiment that is asked for is imported."""


def experiment_names() -> list[str]:
    """Return the names of the experiments, sorted: the modules in `spaces` that define `experiment`."""
    texts = {name: file.read_text(encoding="utf-8", errors="replace") for name, file in _files().items()}
    return sorted(name for name, text in texts.items() if _IS_EXPERIMENT.search(text))


def load_experiment(name: str, profile: Profile) -> Experiment:
    """Return the experiment of that name under a profile.

    Raises:
        InputError: There is no such experiment, or its file has a mistake in it.
    """
    names, file = experiment_names(), _files().get(name)
    if name not in names:
        why = f"{nearest(name, names)} (one file each in spaces/)"
        if file is not None:
            why = f": {file} has no function `def experiment(profile)`, which returns one; see spaces/exp4.py"
        raise InputError(f"there is no experiment {name!r}{why}")
    assert file is not None, "the names are those of the files"
    try:
        found: object = importlib.import_module(f"spaces.{name}").experiment(profile)
    except InputError:
        raise
    except Exception as error:  # whatever a file of the user's may raise is a mistake in it
        raise InputError(f"{_place(file, error)}: {type(error).__name__}: {error}; mend it there") from error
    return _checked(found, name, file)


def _files() -> dict[str, Path]:
    return {file.stem: file for folder in spaces.__path__ for file in Path(folder).glob("*.py")}


def _place(file: Path, error: Exception) -> str:
    """Say where in a file an error comes from; just the file when nobody knows."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{file}:{error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)
    ]
    return f"{file}:{lines[-1]}" if lines else str(file)


def _checked(found: object, name: str, file: Path) -> Experiment:
    """Return what a file's function returned, if it is the experiment of that name.

    Raises:
        InputError: It is none, a field of it has another type, or it has another name.
    """
    if not isinstance(found, Experiment):
        raise InputError(
            f"{file}: experiment() returned {found!r:.80}, which is no Experiment; "
            "return one as spaces/exp4.py does"
        )
    for field, hint in get_type_hints(Experiment).items():
        kind, value = get_origin(hint) or hint, getattr(found, field)
        if isinstance(kind, type) and not isinstance(value, kind):
            raise InputError(
                f"{file}: {field} = {value!r:.80} is no {kind.__name__}; give one as spaces/exp4.py does"
            )
    for path, value in found.space.items():
        if not isinstance(path, str):
            raise InputError(f'{file}: space has the key {path!r}, which is no path; write "optim.lr"')
        if not isinstance(value, BaseDistribution):
            raise InputError(
                f"{file}: space[{path!r}] = {value!r:.80} is no distribution; "
                "write FloatDistribution(1e-5, 1.0) or another one of optuna.distributions"
            )
    for point in found.known_good:
        if not isinstance(point, Mapping):
            raise InputError(
                f'{file}: known_good holds {point!r:.80}, which is no point; write ({{"optim.lr": 1e-3}},)'
            )
    if found.name != name:  # the search's folder, and the name that every other command is given
        raise InputError(
            f"{file}: name = {found.name!r} must be that of the file; write name={name!r} in what it returns"
        )
    return found
