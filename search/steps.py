"""Choices that are numbers, as a Gaussian process is to see them: in their order, one step apart.

Optuna's takes any two choices for equally far from each other. What it learns at one batch size would then
say no more of the next larger one than of the largest.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial


def space_in_steps(space: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """Return the space with whole numbers from 0 in the place of choices that are numbers."""
    return {
        name: IntDistribution(0, len(values) - 1) if (values := _in_order(one)) else one
        for name, one in space.items()
    }


def trial_in_steps(trial: FrozenTrial) -> FrozenTrial:
    """Return a copy of a trial with its values and distributions in steps.

    What Optuna noted of how its values were proposed is left out: the process would read it instead of them.
    """
    changed = copy(trial)
    changed.system_attrs = {}
    changed.distributions = space_in_steps(trial.distributions)
    changed.params = {
        name: values.index(value) if (values := _in_order(trial.distributions[name])) else value
        for name, value in trial.params.items()
    }
    return changed


def out_of_steps(params: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Return the values that stand for those in steps."""
    return {
        name: values[value] if (values := _in_order(space[name])) else value for name, value in params.items()
    }


def _in_order(distribution: BaseDistribution) -> list[int | float]:
    """Return the choices from the smallest to the largest; none if one of them is not a number."""
    choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
    numbers = [one for one in choices if isinstance(one, int | float) and not isinstance(one, bool)]
    return sorted(numbers) if len(numbers) == len(choices) else []
