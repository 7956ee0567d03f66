"""The plan of a search: what would happen, and whether it can."""

from dataclasses import replace
from pathlib import Path

from search.cluster import Cluster
from search.draft import Plan as Plan  # part of this module's interface
from search.draft import draft
from search.refusals import problems
from search.state import SearchState
from spaces.experiment import Experiment
from train_fn.errors import InputError


def make_plan(
    experiment: Experiment,
    cluster: Cluster,
    storage: Path,
    mean_example_tokens: float | None = None,
    train_examples: int | None = None,
    eval_examples: int | None = None,
    before: SearchState | None = None,
) -> Plan:
    """Compute the plan of a search and refuse one that cannot work. Takes `draft_plan`'s arguments.

    Raises:
        InputError: The plan cannot work: the value, the rule, the fix.
    """
    sizes = mean_example_tokens, train_examples, eval_examples
    plan = draft_plan(experiment, cluster, storage, *sizes, before)
    refuse(plan)
    return plan


def refuse(plan: Plan) -> None:
    """Raise the first of a plan's problems, if it has any.

    Raises:
        InputError: The plan cannot work.
    """
    if plan.problems:
        first, *others = plan.problems
        more = f" (and {len(others)} more: --plan shows them)" if others else ""
        raise InputError(f"{first}{more}")


def draft_plan(
    experiment: Experiment,
    cluster: Cluster,
    storage: Path,
    mean_example_tokens: float | None = None,
    train_examples: int | None = None,
    eval_examples: int | None = None,
    before: SearchState | None = None,
) -> Plan:
    """Compute the plan of a search, also of one that cannot work: its `problems` say why.

    Nothing is tokenised, downloaded or started.

    Args:
        experiment: What to search.
        cluster: The machines.
        storage: The storage folder; need not exist.
        mean_example_tokens: Of the prepared training examples; None guesses from the size of the sources.
        train_examples: How many there are; None is unknown.
        eval_examples: How many held-out examples there are; None is unknown.
        before: The search that is there and goes on; None for a new one.

    Raises:
        InputError: The model cannot be read, or a point of the space is no valid configuration.
    """
    sizes = mean_example_tokens, train_examples, eval_examples
    plan = draft(experiment, cluster, storage, *sizes, before)
    return replace(plan, problems=tuple(problems(plan)))
