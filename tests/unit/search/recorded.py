"""A small search as the events it leaves."""

import dataclasses
from collections.abc import Iterator
from dataclasses import asdict

from optuna.distributions import FloatDistribution

from search.events import (
    BaselineMeasured,
    Decided,
    Ended,
    Event,
    Reported,
    SearchEnded,
    SearchStarted,
    TrialStarted,
)
from search.halving import Decision
from spaces.experiment import Experiment
from train_fn.config import OptimConfig, RunConfig, TrainConfig
from train_fn.report import Evaluation, Outcome, Point, Report, Status

MAX_TOKENS = 4000
WINDOW = 1000
EXAMPLE_TOKENS = (10, 30, 20, 40)


def experiment(name: str = "exp9") -> Experiment:
    return Experiment(
        name=name,
        profile="laptop",
        description="A search for tests.",
        base=TrainConfig(run=RunConfig(max_tokens=MAX_TOKENS, window_tokens=WINDOW)),
        space={"optim.lr": FloatDistribution(1e-6, 1e-1, log=True)},
    )


def evaluation(nll: float, spread: float = 0.1) -> Evaluation:
    """Four examples whose mean per token is `nll`."""
    offsets = (spread, -spread, spread, 0.0)  # weighted by tokens: 10 - 30 + 20 + 0 = 0
    return Evaluation(nll, 0.05, tuple(nll + x for x in offsets), EXAMPLE_TOKENS, 0.2)


def report(trial: int, tokens_seen: int, nll: float | None, points: int = 2) -> Report:
    step = WINDOW // points
    curve = tuple(
        Point(tokens_seen - WINDOW + step * (i + 1), 3.0 + i, 2.9 + i / 10, 2.8 + i / 100)
        for i in range(points)
    )
    return Report(
        trial=trial,
        tokens_seen=tokens_seen,
        steps=tokens_seen // 100,
        window_steps=10,
        loss=3.1,
        points=curve,
        lr=1e-4,
        grad_norm=0.7,
        loss_scale=65536.0,
        overflow_steps=1,
        window_overflow_rate=0.1,
        spikes=0,
        trend="falling, p < 0.01",
        tokens_per_s=500.0,
        train_s=tokens_seen / 500,
        start_overhead_s=0.8,
        eval=None if nll is None else evaluation(nll),
    )


def outcome(
    trial: int, status: Status, tokens_seen: int, nll: float | None, reason: str = "its budget"
) -> Outcome:
    return Outcome(
        trial=trial,
        status=status,
        reason=reason,
        tokens_seen=tokens_seen,
        steps=tokens_seen // 100,
        overflow_steps=1,
        eval_nll=nll,
        eval_nll_stderr=None if nll is None else 0.05,
        train_s=tokens_seen / 500,
        start_overhead_s=0.8,
        checkpoint=f"trials/{trial:04d}" if status == "finished" else None,
    )


def search_started(time: float = 1000.0) -> SearchStarted:
    return SearchStarted(time, {"name": "exp9", "budget": {"trials": 4}}, "laptop", "data-1", "abc123")


def trial_started(
    time: float,
    trial: int,
    attempt: int = 0,
    confirms: int | None = None,
    seed: int = 0,
    finishes: int | None = None,
) -> TrialStarted:
    values_of = next(one for one in (confirms, finishes, trial) if one is not None)
    lr = 10.0 ** -(values_of % 5 + 1)
    # Lists for tuples: what a ledger gives back.
    config = asdict(
        TrainConfig(
            optim=OptimConfig(lr=lr), run=RunConfig(seed=seed, max_tokens=MAX_TOKENS, window_tokens=WINDOW)
        )
    )
    return TrialStarted(time, trial, attempt, {"optim.lr": lr}, listed(config), confirms, finishes)


def listed(values: dict[str, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found[key] = listed(value)
        else:
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def decision(trial: int, value: float, keep: bool) -> Decision:
    return Decision(trial, 0, 1, 2000, 2000, value, 3.0, 0.2, 0.01, 3, keep, "judged")


def small_search() -> list[Event]:
    """Four trials: two finish (1 is better), one is halved with a low NLL, one diverges."""
    events: list[Event] = [search_started(), BaselineMeasured(1000.5, evaluation(4.0))]
    clock = iter(range(1001, 2000))

    def now() -> float:
        return float(next(clock))

    for trial, nlls in ((0, (3.5, 3.2, 3.0, 2.9)), (1, (3.4, 3.0, 2.7, 2.5))):
        events.append(trial_started(now(), trial))
        events += [Reported(now(), report(trial, WINDOW * (i + 1), x)) for i, x in enumerate(nlls)]
        events.append(Ended(now(), outcome(trial, "finished", MAX_TOKENS, nlls[-1])))
    events.append(trial_started(now(), 2))
    events += [Reported(now(), report(2, WINDOW * (i + 1), x)) for i, x in enumerate((3.6, 2.4))]
    events.append(Decided(now(), decision(2, 2.4, keep=False)))
    events.append(Ended(now(), outcome(2, "halved", 2000, 2.4, "2.4 is not among the best third")))
    events.append(trial_started(now(), 3))
    events.append(Reported(now(), report(3, WINDOW, None)))
    events.append(Ended(now(), outcome(3, "diverged", 1000, None, "the loss rose tenfold")))
    events.append(SearchEnded(now(), "finished", 25.0))
    return events


def trained_further() -> list[Event]:
    """A trial that was evaluated once, after the first of its windows, and cancelled after the last."""
    events: list[Event] = [
        search_started(),
        trial_started(1001.0, 0),
        Reported(1002.0, report(0, WINDOW, 3.5)),
    ]
    events.append(Reported(1003.0, report(0, MAX_TOKENS, None)))
    return [
        *events,
        Ended(1004.0, outcome(0, "cancelled", MAX_TOKENS, 3.5)),
        SearchEnded(1005.0, "interrupted", 5.0),
    ]


def a_repeat(
    trial: int,
    confirms: int,
    seed: int,
    nll: float | None,
    status: Status = "finished",
    start: float = 1100.0,
) -> list[Event]:
    """A trial that runs another one again with another seed, to its end."""
    return [
        trial_started(start, trial, confirms=confirms, seed=seed),
        Reported(start + 1, report(trial, MAX_TOKENS, nll)),
        Ended(start + 2, outcome(trial, status, MAX_TOKENS, nll, f"{status} again")),
    ]


def to_its_end(
    trial: int, finishes: int, nll: float | None, status: Status = "finished", start: float = 1100.0
) -> list[Event]:
    """A trial that runs a halved one to its end."""
    return [
        trial_started(start, trial, finishes=finishes),
        Reported(start + 1, report(trial, MAX_TOKENS, nll)),
        Ended(start + 2, outcome(trial, status, MAX_TOKENS, nll, f"{status} at last")),
    ]


def nobody_finished(*nlls: float) -> list[Event]:
    """Trials that were halved half-way, with these eval NLLs, and one that diverged; the command goes on."""
    events: list[Event] = [search_started()]
    for number, nll in enumerate(nlls):
        events += [
            trial_started(1001.0 + number, number),
            Reported(1002.0 + number, report(number, 2000, nll)),
        ]
        events.append(Ended(1002.5 + number, outcome(number, "halved", 2000, nll, "not among the best")))
    last = len(nlls)
    events += [trial_started(1050.0, last), Reported(1051.0, report(last, 2000, 1.0))]
    return [*events, Ended(1052.0, outcome(last, "diverged", 3000, None, "the loss rose tenfold"))]


def confirmed_search(*nlls: float) -> list[Event]:
    """The small search, then trials 1 and 0 again with seeds 1 and 2: `nlls` are of 1, 0, 1 and 0."""
    events = small_search()[:-1]
    for i, (confirms, seed) in enumerate(((1, 1), (0, 1), (1, 2), (0, 2))):
        events += a_repeat(4 + i, confirms, seed, nlls[i], start=1100.0 + 10 * i)
    return [*events, SearchEnded(1200.0, "finished", 200.0)]


def long_trial(trial: int, windows: int, points: int, start: float = 2000.0) -> Iterator[Event]:
    """A trial with many windows, for measuring."""
    yield trial_started(start, trial)
    for i in range(windows):
        yield Reported(start + i + 1, report(trial, WINDOW * (i + 1), 3.0 if i % 4 == 0 else None, points))


def at(event: Event, time: float) -> Event:
    return dataclasses.replace(event, time=time)
