"""Which parameter mattered: fANOVA (Hutter, Hoos and Leyton-Brown 2014) as Optuna computes it.

Fitted on the study the search kept. A random forest learns the eval NLL from the parameters; a parameter's
importance is its share of the variance the forest predicts over the whole space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.records import SearchRecord
from spaces.words import count_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

JOURNAL_NAME = "study.journal"
CONFIRMS, FINISHES = "confirms", "finishes"
"""The attributes that the study gives to runs which confirm a trial, or run a halved one to its end."""
MIN_TRIALS = 6
"""Fewer trials than this are not looked at."""
TRIALS_PER_PARAMETER = 5
"""Below so many trials per parameter the figures are called a rough guess."""
RESAMPLES = 8
TREES = 24


@dataclass(frozen=True)
class Share:
    """The importance of one parameter."""

    path: str
    share: float
    """Of the variance; all parameters together make 1."""
    low: float
    high: float
    """The lowest and highest share when trials are drawn again with replacement (bootstrap)."""


@dataclass(frozen=True)
class Importance:
    """Importances from one set of trials."""

    basis: str
    """Which trials, judged when."""
    trials: int
    shares: tuple[Share, ...]
    """The most important first."""


@dataclass(frozen=True)
class Importances:
    """What can be said about importance, and what to keep in mind."""

    found: tuple[Importance, ...]
    cautions: tuple[str, ...]


def importances(search: SearchRecord) -> Importances:
    """Compute importances twice: by the NLL of finished trials, and by the NLL of all at the first rung.

    fANOVA reads finished trials alone, and those are the ones that halving let through: a parameter that
    ruins trials early hardly varies among them. At the first rung nearly all are still there.
    """
    journal = search.folder / JOURNAL_NAME
    if not journal.is_file():
        return Importances(
            (), (f"There is no {JOURNAL_NAME} in the search's folder to compute importances from.",)
        )
    trials = _study_trials(journal)
    values = {
        "finished trials, by their last eval NLL": _finished(trials),
        "trials that reached the first rung, by their eval NLL there": _at_first_rung(trials),
    }
    found, cautions = [], []
    for basis, by_trial in values.items():
        if len(by_trial) < MIN_TRIALS:
            cautions.append(
                f"Too few {basis.partition(',')[0]}: {len(by_trial)}, where {MIN_TRIALS} are the least."
            )
            continue
        shares = _shares(by_trial)
        if shares is None:
            cautions.append(
                f"All {basis.partition(',')[0]} have the same eval NLL or the same parameters, so nothing "
                "can be told from them."
            )
            continue
        found.append(Importance(basis, len(by_trial), shares))
    return Importances(tuple(found), tuple(cautions + _cautions(search, found)))


def _cautions(search: SearchRecord, found: Sequence[Importance]) -> list[str]:
    stopped = sum(trial.status == "halved" for trial in search.tried)
    doomed = sum(trial.doomed for trial in search.tried)
    told = []
    if stopped or doomed:
        told.append(
            f"Left out for lack of a final NLL: {count_text(stopped, 'halved trial')} and "
            f"{count_text(doomed, 'doomed trial')}; at the first rung the doomed ones that were ended before "
            "it. What ruins a trial early looks less important than it is."
        )
    for one in found:
        if one.trials < TRIALS_PER_PARAMETER * len(one.shares):
            told.append(
                f"{one.trials} trials for {len(one.shares)} parameters is a rough guess (see the ranges)."
            )
    return told


def _study_trials(journal: Path) -> "list[FrozenTrial]":
    """Return the trials of the one study in the journal; none of a journal that was only just made.

    Runs that confirm a trial are left out: they are of the best alone and would count its region three times.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    trials = [t for study in storage.get_all_studies() for t in storage.get_all_trials(study._study_id)]
    return [trial for trial in trials if CONFIRMS not in trial.user_attrs]


def _finished(trials: "Sequence[FrozenTrial]") -> "list[tuple[FrozenTrial, float]]":
    return [
        (trial, float(trial.values[0]))
        for trial in trials
        if trial.state.name == "COMPLETE" and trial.user_attrs["status"] == "finished"
    ]


def _at_first_rung(trials: "Sequence[FrozenTrial]") -> "list[tuple[FrozenTrial, float]]":
    trials = [trial for trial in trials if FINISHES not in trial.user_attrs]  # it was there already
    first = min((step for trial in trials for step in trial.intermediate_values), default=0)
    return [(t, t.intermediate_values[first]) for t in trials if first in t.intermediate_values]


def _shares(by_trial: "Sequence[tuple[FrozenTrial, float]]") -> tuple[Share, ...] | None:
    """Return the share of each parameter, None where the NLLs do not vary enough to tell."""
    import numpy as np

    shares = _fanova(by_trial)
    if shares is None:
        return None
    dice = np.random.default_rng(0)
    draws = [dice.integers(len(by_trial), size=len(by_trial)) for _ in range(RESAMPLES)]
    again = [_fanova([by_trial[i] for i in drawn]) for drawn in draws]
    told = [shares, *(one for one in again if one is not None)]  # a resample may hold equal NLLs alone
    return tuple(
        Share(path, share, min(one[path] for one in told), max(one[path] for one in told))
        for path, share in sorted(shares.items(), key=lambda item: -item[1])
    )


def _fanova(by_trial: "Sequence[tuple[FrozenTrial, float]]") -> dict[str, float] | None:
    """Return the share of each parameter; None where no tree of the forest finds two NLLs to tell apart."""
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study: Any = optuna.create_study(direction="minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(params=trial.params, distributions=trial.distributions, value=value)
            for trial, value in by_trial
        ]
    )
    evaluator = FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    try:
        shares: dict[str, float] = get_param_importances(study, evaluator=evaluator)
    except RuntimeError as error:
        if "zero total variance" not in str(error):
            raise
        return None
    return {path: float(shares.get(path, 0.0)) for path in by_trial[0][0].params}
