"""The result of a search as one JSON file, and the sentences that say why its best trial is the best.

The schema stands in `docs/summary.schema.json` and is explained in `docs/summary.md`.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from search.standing import best, confirmed, ranked
from search.state import (
    SearchState,
    counts,
    finishing,
    repeats,
    tokens_saved,
    tokens_spent,
    tried,
    wall_s,
)
from search.trial_state import TrialState
from spaces.experiment import Experiment
from spaces.words import SEEDS_FAILED, confirmation_lines, count_text, lead_text, trial_id
from train_fn.confirmation import Confirmation
from train_fn.errors import InputError
from train_fn.lead import paired_lead

FILE_NAME = "summary.json"


class RetrySummary(TypedDict):
    """One more attempt at a trial, in `summary.json`."""

    cause: str
    told: str


class TrialSummary(TypedDict):
    """One trial in `summary.json`."""

    id: str
    number: int
    mlflow_run_id: str | None
    confirms: int | None
    finishes: int | None
    config: Mapping[str, object]
    status: str
    reason: str
    tokens_seen: int
    optimizer_steps: int
    overflow_steps: int
    eval_nll: float | None
    eval_nll_stderr: float | None
    start_overhead_s: float
    train_s: float
    times: Mapping[str, float] | None
    retries: list[RetrySummary]
    skipped_examples: int


class BestSummary(TypedDict):
    """The best trial in `summary.json`."""

    id: str
    config: Mapping[str, object]
    eval_nll: float
    checkpoint: str | None


class ConfirmedSummary(TypedDict):
    """A trial that other seeds bear out, in `summary.json`."""

    id: str
    seeds: list[int]
    eval_nlls: list[float]
    mean: float
    stderr: float


class ConfirmationSummary(TypedDict):
    """What other seeds said of the best trials, in `summary.json`."""

    trials: list[ConfirmedSummary]
    unstable: list[str]
    lead: float | None
    lead_noise: float | None
    exceeds_noise: bool | None
    tied: list[str]
    words: list[str]


class Summary(TypedDict):
    """All of `summary.json`."""

    experiment: str
    profile: str
    status: str
    wall_s: float
    base_eval_nll: float | None
    base_eval_nll_stderr: float | None
    trials: list[TrialSummary]
    best: BestSummary | None
    confirmation: ConfirmationSummary | None
    tokens_spent: int
    tokens_saved: int


def summarise(
    state: SearchState, experiment: Experiment, folder: Path, run_ids: Mapping[int, str]
) -> Summary:
    """Compute the summary of a search.

    Args:
        state: What the ledger says.
        experiment: What was searched.
        folder: Of the search.
        run_ids: MLflow run of each trial by number; trials without one get null.
    """
    top, base, found = best(state), state.base_eval, confirmed(state)
    winner: BestSummary | None = None
    if top is not None and top.eval_nll is not None:
        winner = {
            "id": trial_id(experiment.name, top.trial),
            "config": top.config,
            "eval_nll": top.eval_nll,
            "checkpoint": weights_of(top, folder),
        }
    return {
        "experiment": experiment.name,
        "profile": experiment.profile,
        "status": state.status,
        "wall_s": wall_s(state),
        "base_eval_nll": base.nll if base else None,
        "base_eval_nll_stderr": base.stderr if base else None,
        "trials": [_trial(experiment.name, t, run_ids.get(n)) for n, t in sorted(state.trials.items())],
        "best": winner,
        "confirmation": None if found is None else _confirmation(experiment.name, found),
        "tokens_spent": tokens_spent(state),
        "tokens_saved": tokens_saved(state, experiment.base.run.max_tokens),
    }


def write_summary(path: Path, summary: Summary) -> None:
    """Write the summary; a reader finds the old file or the whole new one, never a part.

    Raises:
        InputError: The file cannot be written.
    """
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}; make room there") from error


def weights_of(trial: TrialState, folder: Path) -> str | None:
    """Return where the weights of a trial lie: the folder may have moved since its end was written down.

    Args:
        trial: Any trial.
        folder: Of the search.

    Returns:
        Its own place in the folder, or what was written down where that is empty; None when none were kept.
    """
    if trial.checkpoint is None:
        return None
    here = folder.resolve().joinpath(*Path(trial.checkpoint).parts[-3:])  # trials, its number, weights
    return str(here) if here.is_dir() else trial.checkpoint


def why_best(state: SearchState, top: TrialState, name: str) -> list[str]:
    """Say why a trial is the best: what other seeds said, its lead over the second and over the base model.

    Leads are told between trials that finished: an NLL after fewer tokens is higher for that alone. Where
    other seeds were tried on two trials, the lead is that of their means, and not the one of single runs.
    """
    sentences = []
    if top.status != "finished":
        sentences.append(f"no trial finished; this one is {top.status} and has the lowest eval NLL so far")
    found = confirmed(state)
    if found is not None:
        sentences += confirmation_lines(found, name)
    elif state.status == "finished" and any(trial.confirms == top.trial for trial in repeats(state)):
        sentences.append(SEEDS_FAILED)  # or another would come
    others = [t for t in ranked(state) if t.trial != top.trial and t.status == top.status == "finished"]
    if not others:
        sentences.append("no second trial finished: there is no fair comparison")
    elif (
        (found is None or found.lead is None)
        and top.last_eval is not None
        and others[0].last_eval is not None
    ):
        who = f"the second, {trial_id(name, others[0].trial)}"
        sentences.append(lead_text(paired_lead(top.last_eval, others[0].last_eval), who))
    if state.base_eval is not None and top.last_eval is not None:
        base = f"the base model at {state.base_eval.nll:.4f}"
        sentences.append(lead_text(paired_lead(top.last_eval, state.base_eval), base))
    return sentences


def count_line(state: SearchState) -> str:
    """Write how many trials there are, by status, and how many runs confirm the best of them."""
    if not state.trials:
        return "no trials"
    again = repeats(state)
    more = f", {count_text(len(again), 'run')} to confirm the best ({_by_status(again)})" if again else ""
    if ends := finishing(state):
        more = f", {count_text(len(ends), 'run')} of halved ones to their end ({_by_status(ends)}){more}"
    return f"{len(tried(state))} trials ({_by_status(tried(state))}){more}"


def _by_status(trials: list[TrialState]) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(counts(trials).items()))


def _confirmation(name: str, found: Confirmation) -> ConfirmationSummary:
    lead = found.lead
    return {
        "trials": [
            {
                "id": trial_id(name, one.trial),
                "seeds": list(one.seeds),
                "eval_nlls": list(one.nlls),
                "mean": one.mean,
                "stderr": one.stderr,
            }
            for one in found.confirmed
        ],
        "unstable": [trial_id(name, one.trial) for one in found.unstable],
        "lead": None if lead is None else lead.nll,
        "lead_noise": None if lead is None else lead.noise,
        "exceeds_noise": None if lead is None else lead.clear,
        "tied": [trial_id(name, number) for number in found.tied] if len(found.tied) > 1 else [],
        "words": confirmation_lines(found, name),
    }


def _trial(name: str, trial: TrialState, run_id: str | None) -> TrialSummary:
    return {
        "id": trial_id(name, trial.trial),
        "number": trial.trial,
        "mlflow_run_id": run_id,
        "confirms": trial.confirms,
        "finishes": trial.finishes,
        "config": trial.config,
        "status": trial.status,
        "reason": trial.reason,
        "tokens_seen": trial.tokens_seen,
        "optimizer_steps": trial.steps,
        "overflow_steps": trial.overflow_steps,
        "eval_nll": _finite(trial.eval_nll),
        "eval_nll_stderr": _finite(trial.eval_nll_stderr),
        "start_overhead_s": trial.start_overhead_s,
        "train_s": trial.train_s,
        "times": None if trial.times is None else asdict(trial.times),
        "retries": [{"cause": again.cause, "told": again.told} for again in trial.retries],
        "skipped_examples": trial.skipped_examples,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
