"""The search space: dotted paths into `TrainConfig`, each with an `optuna.distributions` value."""

from collections.abc import Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution

from spaces.experiment import Experiment, ParamValue
from spaces.paths import field_type, leaves, replace_all
from train_fn.config import TrainConfig
from train_fn.errors import InputError

SEED_PATH = "run.seed"
"""Searched or not, a run that confirms a trial has its own value there."""
_PREPARED = ("data.", "model.path", "model.gguf_file")
_CLOCK = ("run.max_tokens", "run.window_tokens", "run.eval_at_tokens")


def apply(base: TrainConfig, params: Mapping[str, ParamValue], seed: int | None = None) -> TrainConfig:
    """Return the complete configuration of one trial: `base` with the sampled values in their places.

    Args:
        base: Of every trial.
        params: Sampled values by dotted path.
        seed: Of a run that confirms another trial; None leaves the seed as it is.

    Raises:
        InputError: A path names no field, or the values break a rule of the configuration.
    """
    return replace_all(base, dict(params) if seed is None else {**params, SEED_PATH: seed})


def check_space(experiment: Experiment) -> None:
    """Refuse a space that cannot be searched, before anything starts.

    Raises:
        InputError: The space is empty, names a field that does not exist or that all trials share, holds
            values that the configuration refuses, or does not contain a known good point.
    """
    if not experiment.space:
        raise InputError(
            f"space of {experiment.name} is empty: there is nothing to search; "
            "add a path to its space, or run one trial with `python -m search.trial`"
        )
    for path, distribution in experiment.space.items():
        field_type(experiment.base, path)
        _check_own(experiment.name, path)
        _check_ends(experiment, path, distribution)
    for point in experiment.known_good:
        for path, value in point.items():
            if path not in experiment.space:
                raise InputError(
                    f"known good point {dict(point)}: {path!r} is not in the space; add it or drop it"
                )
            if not contains(experiment.space[path], value):
                raise InputError(
                    f"known good point {path} = {value!r} is outside {experiment.space[path]}; widen it"
                )


def _check_ends(experiment: Experiment, path: str, distribution: BaseDistribution) -> None:
    """Refuse a value that the configuration does not take, by name of the space, for nobody has set it."""
    for value in _ends(distribution):
        try:
            apply(experiment.base, {path: value})
        except (InputError, TypeError) as error:
            broken = str(error).partition("; ")[0]
            if isinstance(error, TypeError):  # the rules compare numbers
                broken = f"{path} = {value!r} is of another type than its field"
            what = "the lower end" if value == getattr(distribution, "low", None) else "the upper end"
            if isinstance(distribution, CategoricalDistribution):
                what = "one of the values"
            fixed = dict(leaves(experiment.base))[path]
            raise InputError(
                f"{broken}, and {value!r} is {what} of what {experiment.name} searches for {path}; "
                f"set one value (--set {path}={fixed}), or change the space"
            ) from None


def _check_own(name: str, path: str) -> None:
    """Refuse a field that the search reads from the base alone, so that a trial's own value does nothing."""
    if path in _CLOCK:
        why = "trials are judged at the same tokens"
    elif path.startswith(_PREPARED) and path != "data.weights":
        why = "the data is prepared once, with the tokenizer of one base model"
    else:
        return
    raise InputError(
        f"space of {name} holds {path!r}, which all trials share: {why}; "
        f"run a search for each value, with --set {path}=... and a --storage of its own"
    )


def contains(distribution: BaseDistribution, value: ParamValue) -> bool:
    """Return whether `value` lies in `distribution`."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except ValueError:
        return False


def _ends(distribution: BaseDistribution) -> tuple[ParamValue, ...]:
    """Return the extreme values of a distribution: what holds for them holds between."""
    if hasattr(distribution, "choices"):
        return tuple(distribution.choices)
    return (distribution.low, distribution.high)  # type: ignore[attr-defined]
