"""The last lines that a command prints: what came of the search, and what to do with it."""

import shlex
from pathlib import Path

from search.confirming import missing
from search.standing import best
from search.state import SearchState, tokens_saved, tokens_spent, tried
from search.summary import count_line, weights_of, why_best
from spaces.experiment import Experiment
from spaces.words import count_text, params_text, tokens_text, trial_id
from train_fn.working_copy import shown


def closing_lines(state: SearchState, experiment: Experiment, storage: Path, dashboard: str) -> list[str]:
    """Write the last lines of a command.

    Args:
        state: What the ledger says.
        experiment: What was searched.
        storage: The storage folder, as the user gave it, or the working copy of an address.
        dashboard: How to open the dashboard (`tracking.dashboard_command`).

    Returns:
        Best trial, its sampled values, why it is the best and what other seeds said, its weights, what was
        saved, the commands to go on with, the dashboard.
    """
    lines = [f"Search {experiment.name} ({experiment.profile}) {state.status}: {count_line(state)}"]
    top = best(state)
    if top is not None and top.eval_nll is not None:
        error = f" ± {top.eval_nll_stderr:.4f}" if top.eval_nll_stderr is not None else ""
        seen = tokens_text(top.eval_tokens)
        name = trial_id(experiment.name, top.trial)
        lines.append(f"Best trial: {name}, eval NLL {top.eval_nll:.4f}{error} after {seen} tokens")
        lines.append(f"  {params_text(top.params)}")
        lines += [f"  {sentence}" for sentence in why_best(state, top, experiment.name)]
        to_come = missing(state, experiment.confirm) if len(tried(state)) >= experiment.budget.trials else []
        if any(one.seed is None for one in to_come):
            lines.append("  no trial came to its end yet: the same command runs the best halved one there")
        elif to_come:
            lines.append(f"  not confirmed yet: {count_text(len(to_come), 'run')} with other seeds to come")
        lines.append(f"  weights: {weights_of(top, storage / experiment.name) or 'none kept'}")
    else:
        lines.append("No trial can be called the best: none was evaluated without diverging or failing.")
    if state.status == "finished" and (top is None or top.status != "finished"):
        more = 2 * experiment.budget.trials
        lines.append(f"No trial came to its end: the same command with --set budget.trials={more} tries more")
    spent, saved = tokens_spent(state), tokens_saved(state, experiment.base.run.max_tokens)
    lines.append(f"Tokens: {tokens_text(spent)} spent, {tokens_text(saved)} saved by stopping trials early")
    lines += next_commands(state, experiment.name, storage)
    lines.append(f"Dashboard: {dashboard}")
    return lines


def next_commands(state: SearchState, name: str, storage: Path) -> list[str]:
    """Write the commands that read the report and that promote the best trial, as they can be given.

    Args:
        state: What the ledger says.
        name: Of the search.
        storage: The storage folder, as the user gave it, or the working copy of an address.

    Returns:
        None of a search without trials; no promotion where no trial finished.
    """
    if not state.trials:
        return []
    search = f"{name} --storage {shlex.quote(shown(storage))}"
    lines = [f"Report: python -m analysis.report {search}"]
    top = best(state)
    if top is not None and top.status == "finished":
        folder = (storage / "promoted" / trial_id(name, top.trial)).resolve().as_uri()
        lines.append(f"Promote: python -m analysis.promote {search} --to {shlex.quote(folder)}")
    return lines
