"""A search with a simulated clock: the real study, halving, curves, doom rules and confirmation."""

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from search.confirming import wanted
from search.events import Ended, Event, Reported, TrialStarted
from search.halving import Decision, Halving
from search.searcher import StudySearcher
from search.state import SearchState, replay
from search.study import Repeat, Study
from spaces.experiment import Experiment, ParamValue
from tests.simulation.world import World
from train_fn.curve import Curve
from train_fn.doom import judge
from train_fn.report import Evaluation, Outcome, Report, Status

Params = dict[str, ParamValue]
SECONDS_PER_TOKEN = 1e-3


class Proposer(Protocol):
    """What chooses the trials; `search.study.Study` is one."""

    def ask(self) -> tuple[int, Params]: ...

    def hear(self, number: int, intermediate: dict[int, float], /) -> None: ...

    def tell(self, outcome: Outcome, intermediate: dict[int, float], /) -> None: ...

    def count(self) -> int: ...


class RandomProposer:
    """Draws from the space; keeps no journal, so thousands of trials take seconds."""

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self._space = experiment.space
        self._random = random.Random(seed)
        self._asked = 0

    def ask(self) -> tuple[int, Params]:
        self._asked += 1
        lr = 10 ** self._random.uniform(-5, 0)
        batch = self._random.choice(self._space["optim.effective_batch_size"].choices)  # type: ignore[attr-defined]
        return self._asked - 1, {"optim.lr": lr, "optim.effective_batch_size": batch}

    def hear(self, number: int, intermediate: dict[int, float], /) -> None:
        pass

    def tell(self, outcome: Outcome, intermediate: dict[int, float], /) -> None:
        pass

    def count(self) -> int:
        return self._asked


@dataclass
class Simulated:
    """What a simulated search did."""

    params: dict[int, Params] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    decisions: list[tuple[Decision, Evaluation]] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    """The last one of each trial."""
    repeats: dict[int, Repeat] = field(default_factory=dict)
    """Which of the trials run another one again."""
    seconds: float = 0.0

    @property
    def tokens_spent(self) -> int:
        return sum(o.tokens_seen for o in self.outcomes)

    @property
    def best(self) -> Outcome:
        finished = [o for o in self.outcomes if o.status == "finished"]
        return min(finished, key=lambda o: o.eval_nll or 0.0)

    def count(self, status: Status) -> int:
        return sum(o.status == status for o in self.outcomes)


def simulate(
    experiment: Experiment, world: World, proposer: Proposer, halving: Halving, slots: int = 1
) -> Simulated:
    """Run trials on `slots` at once until the budget is used.

    A trial is a generator that stops at each of its windows; the one whose clock is the furthest behind goes
    next.
    """
    done = Simulated()
    live: list[tuple[float, int, Iterator[float]]] = []

    def start(now: float) -> None:
        if proposer.count() < experiment.budget.trials:
            number, params = proposer.ask()
            done.params[number] = params
            heapq.heappush(
                live, (now, number, _trial(experiment, world, halving, proposer, done, number, now))
            )

    for _ in range(slots):
        start(0.0)
    while live:
        now, number, trial = heapq.heappop(live)
        later = next(trial, None)
        if later is None:
            done.seconds = max(done.seconds, now)
            start(now)
        else:
            heapq.heappush(live, (later, number, trial))
    return done


def confirm(
    experiment: Experiment, world: World, study: Study, halving: Halving, done: Simulated
) -> SearchState:
    """Run what the answer waits for, of a search that is over, one run after the other."""
    searcher = StudySearcher(
        study, experiment.budget.trials, lambda: wanted(known(done, done.outcomes), experiment.confirm)
    )
    while isinstance(suggested := searcher.suggest("slot"), dict):
        number = suggested["trial"]
        done.params[number] = suggested["params"]
        again = study.repeat_of(number)
        assert again is not None
        done.repeats[number] = again
        for _ in _trial(experiment, world, halving, study, done, number, done.seconds):
            pass
        searcher.on_trial_complete("slot")
    return known(done, done.outcomes)


def known(done: Simulated, arrivals: Sequence[Outcome]) -> SearchState:
    """Return what a search would know whose trials had ended in this order."""
    return replay(event for outcome in arrivals for event in _events(done, outcome))


def _events(done: Simulated, outcome: Outcome) -> Iterator[Event]:
    number, repeat = outcome.trial, done.repeats.get(outcome.trial)
    seed = 0 if repeat is None else repeat.seed or 0
    confirms = repeat.of if repeat is not None and repeat.seed is not None else None
    finishes = repeat.of if repeat is not None and repeat.seed is None else None
    yield TrialStarted(0.0, number, 0, done.params[number], {"run": {"seed": seed}}, confirms, finishes)
    if number in done.evaluations:
        figures = (1, 1, 3.0, (), 1e-3, 1.0, 0.0, 0, 0.0, 0, "flat", 1.0, 1.0, 0.0)
        yield Reported(0.0, Report(number, outcome.tokens_seen, *figures, done.evaluations[number]))
    yield Ended(0.0, outcome)


def _trial(
    experiment: Experiment,
    world: World,
    halving: Halving,
    proposer: Proposer,
    done: Simulated,
    number: int,
    began: float,
) -> Iterator[float]:
    run, params = experiment.base.run, done.params[number]
    seed = (done.repeats[number].seed or 0) if number in done.repeats else 0
    batch = int(params.get("optim.effective_batch_size", experiment.base.optim.effective_batch_size))
    curve, tokens, steps = Curve.fresh(batch), 0, 0
    evaluations: dict[int, float] = {}

    def end(status: Status, reason: str) -> None:
        nll = list(evaluations.values())[-1] if evaluations else None
        outcome = Outcome(number, status, reason, tokens, steps, 0, nll, 0.01, 1.0, 0.0, None)
        done.outcomes.append(outcome)
        proposer.tell(outcome, evaluations)
        halving.ended(number, status)

    for window in range(run.max_tokens // run.window_tokens):
        yield began + tokens * SECONDS_PER_TOKEN
        before = tokens
        for tokens, loss in world.steps(number, params, window, seed):
            curve.add(tokens, loss, 1.0, 0.0, False)
            steps += 1
        verdict = judge(curve, experiment.base.doom, run.max_tokens)
        if verdict is not None:
            return end(verdict.status, verdict.reason)
        last = window + 1 == run.max_tokens // run.window_tokens
        if last or any(before < rung <= tokens for rung in halving.rungs):
            evaluation = world.evaluate(number, params, tokens)
            evaluations[tokens], done.evaluations[number] = evaluation.nll, evaluation
            proposer.hear(number, evaluations)
            judged = not last and number not in done.repeats
            decision = halving.decide(number, tokens, evaluation) if judged else None
            if decision is not None:
                done.decisions.append((decision, evaluation))
                if not decision.keep:
                    return end("halved", decision.reason)
    return end("finished", "trained to the end")
