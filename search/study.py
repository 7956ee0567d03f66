"""The Optuna study of a search: what was tried, and what is tried next. Knows nothing of Ray.

It is kept in an Optuna journal, so `optuna-dashboard <folder>/study.journal` opens it, and a search that was
interrupted goes on from it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from search.halving import rung_tokens
from search.journal import open_journal, writing
from search.sampler import make_sampler
from search.told import CONFIRMS, FINISHES, RETRIED, runs_again, uses_budget
from spaces.experiment import Experiment, ParamValue
from spaces.space import check_space
from train_fn.errors import InputError
from train_fn.report import Outcome

JOURNAL = "study.journal"
MAX_ATTEMPTS = 2
"""A failed trial is tried again with the same values until it has had so many attempts."""
_SPACE, _ATTEMPT, _RETRIES, _SEED = "space", "attempt", "retries", "seed"


@dataclass(frozen=True)
class Repeat:
    """A run of a trial's values again, which no rung judges."""

    of: int
    """The trial."""
    seed: int | None
    """Another seed, to confirm the trial; None runs it as it was, to its end."""


class Study:
    """Proposes trials and is told how they ended."""

    def __init__(self, experiment: Experiment, study: optuna.Study) -> None:
        self._experiment = experiment
        self._study = study
        asked = [t for t in self._trials() if t.state != TrialState.WAITING]
        self._used = sum(uses_budget(trial) for trial in asked)
        self._steps = (
            *rung_tokens(experiment.halving, experiment.base.run.max_tokens),
            experiment.base.run.max_tokens,
        )

    @classmethod
    def open(cls, experiment: Experiment, folder: Path) -> Self:
        """Create the study in `folder`, or continue the one that is there.

        The known good points of the experiment are enqueued, once.

        Raises:
            InputError: The space cannot be searched or does not hold a known good point, or the study in the
                folder was made for another space.
        """
        check_space(experiment)
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / JOURNAL
        study = optuna.create_study(
            study_name=experiment.name,
            storage=open_journal(journal),
            sampler=RandomSampler(seed=experiment.sampler.seed),
            direction="minimize",
            load_if_exists=True,
        )
        _keep_space(study, experiment, journal)
        for point in experiment.known_good:
            if point:
                study.enqueue_trial(dict(point), skip_if_exists=True)
        opened = cls(experiment, study)
        opened._finish_asking()
        opened._finish_retrying()
        return opened

    @writing()
    def ask(self) -> tuple[int, dict[str, ParamValue]]:
        """Return the number and the values of a new trial.

        The sampler's random numbers depend on the seed and the trial's number alone: a search that was
        interrupted proposes what an uninterrupted one would have.
        """
        known = self._trials()
        number = next((t.number for t in known if t.state == TrialState.WAITING), len(known))
        self._study.sampler = self._sampler(number)
        trial = self._study.ask()
        assert trial.number == number, (trial.number, number)
        self._used += 1
        return number, self._suggest_all(trial)

    @writing()
    def repeat(self, again: Repeat) -> tuple[int, dict[str, ParamValue]]:
        """Return the number and the values of a new trial that runs another one again.

        It is a trial like the others, so its number never collides with one that comes later, and a sampler
        that sees the same values twice with two results is told the truth.
        """
        known = self._trial(again.of)
        frozen = create_trial(
            state=TrialState.RUNNING,
            params=known.params,
            distributions=known.distributions,
            user_attrs=_notes(again),
        )
        self._study.add_trial(frozen)  # at once, values and all: nothing to finish after a crash
        added = self._trials()[-1]
        return added.number, self._params(added)

    def repeat_of(self, number: int) -> Repeat | None:
        """Return which trial a trial runs again, and how; None for a trial of its own."""
        attrs = self._trial(number).user_attrs
        if CONFIRMS in attrs:
            return Repeat(attrs[CONFIRMS], attrs[_SEED])
        return Repeat(attrs[FINISHES], None) if FINISHES in attrs else None

    def is_repeated(self, again: Repeat) -> bool:
        """Tell whether such a run is under way or over, or has failed `MAX_ATTEMPTS` times."""
        notes = _notes(again)
        states = [t.state for t in self._trials() if notes.items() <= t.user_attrs.items()]
        return any(state != TrialState.FAIL for state in states) or len(states) >= MAX_ATTEMPTS

    def numbers(self) -> set[int]:
        """Return the numbers of all trials that were asked for."""
        return {trial.number for trial in self._trials() if trial.state != TrialState.WAITING}

    def running(self) -> list[tuple[int, dict[str, ParamValue]]]:
        """List the trials that were asked for and never told: after a restart they are taken up again."""
        return [(t.number, self._params(t)) for t in self._trials(TrialState.RUNNING)]

    @writing()
    def hear(self, number: int, intermediate: Mapping[int, float]) -> None:
        """Take in the evaluations of a trial that runs; the sampler learns from them before its end.

        They count at the rungs they were made for, not at the tokens they were made at: a step overshoots its
        rung by up to a whole batch. What was heard before stays as it was.

        Args:
            number: Of the trial.
            intermediate: Tokens seen -> eval NLL, of each evaluation.
        """
        frozen = self._trial(number)
        if not frozen.state.is_finished():
            self._report(Trial(self._study, frozen._trial_id), frozen, intermediate)

    @writing()
    def tell(self, outcome: Outcome, intermediate: Mapping[int, float]) -> None:
        """Say how a trial ended.

        A trial told before stays as it was, so that a record may be replayed.

        Args:
            outcome: `finished` is COMPLETE; `halved` is PRUNED; `diverged` and `overflowing` are PRUNED too,
                and the sampler takes them for worse than everything; `failed` is FAIL, and the same values
                wait for another attempt until there were `MAX_ATTEMPTS`, unless the failure is final (a
                repeat does not wait: who wanted it asks again); `cancelled` stays RUNNING for the next
                command.
            intermediate: Tokens seen -> eval NLL, of each evaluation.
        """
        frozen = self._trial(outcome.trial)
        if frozen.state.is_finished() or outcome.status == "cancelled":
            return
        trial = Trial(self._study, frozen._trial_id)
        trial.set_user_attr("status", outcome.status)
        trial.set_user_attr("reason", outcome.reason)
        trial.set_user_attr("tokens_seen", outcome.tokens_seen)
        match outcome.status:
            case "finished":
                assert outcome.eval_nll is not None, "a finished trial was evaluated at its end"
                self._report(trial, frozen, intermediate)
                self._study.tell(trial, outcome.eval_nll)
            case "halved":
                self._report(trial, frozen, intermediate)
                self._study.tell(trial, state=TrialState.PRUNED)
            case "diverged" | "overflowing":
                self._study.tell(trial, state=TrialState.PRUNED)
            case "failed":
                self._tell_failed(trial, frozen, outcome.final)

    def count(self) -> int:
        """Count the trials that use the budget: all that were asked for, a failed one and its retry once.

        Runs of a trial again use none.
        """
        return self._used

    def _report(self, trial: Trial, frozen: FrozenTrial, intermediate: Mapping[int, float]) -> None:
        at_rung: dict[int, float] = {}
        for tokens, nll in sorted(intermediate.items()):
            reached = [step for step in self._steps if step <= tokens]
            if reached:
                at_rung.setdefault(reached[-1], nll)
        for step in at_rung.keys() - frozen.intermediate_values.keys():
            trial.report(at_rung[step], step)

    def _tell_failed(self, trial: Trial, frozen: FrozenTrial, final: bool) -> None:
        attempt = frozen.user_attrs.get(_ATTEMPT, 1)
        again = not final and attempt < MAX_ATTEMPTS and not runs_again(frozen)
        if again and uses_budget(frozen):  # a crash may have come after this and before FAIL
            trial.set_user_attr(RETRIED, True)
            self._used -= 1  # its second attempt uses the budget in its place
        self._study.tell(trial, state=TrialState.FAIL)
        if again:
            self._retry(frozen)

    def _retry(self, failed: FrozenTrial) -> None:
        attempt = failed.user_attrs.get(_ATTEMPT, 1)
        attrs = {_ATTEMPT: attempt + 1, _RETRIES: failed.number}
        self._study.enqueue_trial(self._params(failed), user_attrs=attrs)

    def _finish_retrying(self) -> None:
        """Enqueue the second attempts of those failures that were told just before a crash."""
        again = {trial.user_attrs.get(_RETRIES) for trial in self._trials()}
        for failed in self._trials(TrialState.FAIL):
            if failed.user_attrs.get(RETRIED, False) and failed.number not in again:
                self._retry(failed)

    def _finish_asking(self) -> None:
        """Give those trials their values whose `ask` was interrupted half-way."""
        for frozen in self._trials(TrialState.RUNNING):
            if frozen.params.keys() != self._experiment.space.keys():
                self._study.sampler = self._sampler(frozen.number)
                self._suggest_all(Trial(self._study, frozen._trial_id))

    def _sampler(self, number: int) -> BaseSampler:
        return make_sampler(self._experiment.sampler, self._experiment.space, number)

    def _suggest_all(self, trial: Trial) -> dict[str, ParamValue]:
        return {path: _suggest(trial, path, d) for path, d in self._experiment.space.items()}

    def _params(self, trial: FrozenTrial) -> dict[str, ParamValue]:
        return {path: trial.params[path] for path in self._experiment.space}

    def _trial(self, number: int) -> FrozenTrial:
        """Return one trial without a look at all the others, which `get_trials` takes."""
        storage = self._study._storage
        return storage.get_trial(
            storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
        )

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)


def _notes(again: Repeat) -> dict[str, int]:
    return {FINISHES: again.of} if again.seed is None else {CONFIRMS: again.of, _SEED: again.seed}


def _suggest(trial: Trial, path: str, distribution: BaseDistribution) -> ParamValue:
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_float(path, low, high, step=step, log=log)
        case IntDistribution(low=low, high=high, step=step, log=log):
            return trial.suggest_int(path, low, high, step=step, log=log)
        case CategoricalDistribution(choices=choices):
            value: ParamValue = trial.suggest_categorical(path, choices)  # type: ignore[assignment]
            return value
    raise AssertionError(f"unknown distribution {distribution}")


def _keep_space(study: optuna.Study, experiment: Experiment, journal: Path) -> None:
    """Write the space into a new study; refuse to continue one that was made for another."""
    space = {path: json.loads(distribution_to_json(d)) for path, d in experiment.space.items()}
    known = study.user_attrs.get(_SPACE)
    if known is None:
        study.set_user_attr(_SPACE, space)
    elif known != json.loads(json.dumps(space)):
        other = sorted(p for p in known.keys() | space.keys() if known.get(p) != space.get(p))
        raise InputError(
            f"the study in {journal} was made for another space of {', '.join(other)}; "
            "continue it with the same settings, or give --storage another folder"
        )
