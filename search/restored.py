"""What a command takes up from the ledger of those before it: the study, the rungs, the peers."""

from collections.abc import Iterable
from pathlib import Path

from search.events import Decided, Ended, Event, Reported
from search.halving import Decision, Halving
from search.recorder import hear, tell
from search.stalled import Peers, StallRule
from search.state import SearchState, finishing
from search.study import JOURNAL, Study
from spaces.experiment import Experiment
from train_fn.errors import InputError
from train_fn.report import Evaluation, Outcome


def open_study(experiment: Experiment, folder: Path, state: SearchState, past: list[Event]) -> Study:
    """Open the study, and tell it what only the ledger knows.

    Raises:
        InputError: It lacks a trial of the ledger, so it would hand out that number again.
    """
    study = Study.open(experiment, folder)
    if lacking := set(state.trials) - study.numbers():
        raise InputError(
            f"the study in {folder / JOURNAL} lacks trial {min(lacking)}, which the ledger knows; "
            "restore the file, or begin anew with --fresh"
        )
    reconcile(study, state, past)
    return study


def reconcile(study: Study, state: SearchState, past: list[Event]) -> None:
    """Tell the study what only the ledger knows: a crash may have come between the two."""
    running = {number for number, _ in study.running()}
    for number in running.intersection(state.trials):
        hear(study, state, number)
    outcomes: dict[int, Outcome] = {e.outcome.trial: e.outcome for e in past if isinstance(e, Ended)}
    for number, outcome in outcomes.items():
        if number in running and outcome.status != "cancelled":
            tell(study, state, outcome)


def rungs_of(experiment: Experiment, past: list[Event], state: SearchState) -> Halving:
    """Return the rungs as they were left."""
    halving = Halving(experiment.halving, experiment.base.run.max_tokens)
    statuses = {number: trial.status for number, trial in state.trials.items()}
    refuted = {again.finishes: again.status for again in finishing(state) if again.finishes is not None}
    halving.restore(decisions_of(past), statuses | refuted)
    return halving


def peers_of(experiment: Experiment, past: list[Event], state: SearchState) -> Peers:
    """Return the trials' losses so far; runs of a trial again are none of its peers."""
    run = experiment.base.run
    peers = Peers(StallRule(enabled=experiment.base.doom.enabled), run.max_tokens, run.window_tokens)
    reports = (event.report for event in past if isinstance(event, Reported))
    known = ((report, state.trials[report.trial]) for report in reports)
    own = (pair for pair in known if pair[1].confirms is None and pair[1].finishes is None)
    peers.restore((report, trial.params) for report, trial in own)
    return peers


def decisions_of(past: list[Event]) -> Iterable[tuple[Decision, Evaluation]]:
    """Pair each decision with the evaluation it judged.

    Raises:
        InputError: There is none.
    """
    evaluations: dict[tuple[int, int], Evaluation] = {}
    for event in past:
        if isinstance(event, Reported) and event.report.eval is not None:
            evaluations[event.report.trial, event.report.tokens_seen] = event.report.eval
        elif isinstance(event, Decided):
            at = event.decision.trial, event.decision.tokens_seen
            if at not in evaluations:
                raise InputError(
                    f"the ledger judges trial {at[0]} at {at[1]:,} tokens, where it was never evaluated; "
                    "restore the file, or begin anew with --fresh"
                )
            yield event.decision, evaluations[at]
