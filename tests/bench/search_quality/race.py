"""A race: one method searches one task on several slots, under a simulated clock that counts tokens.

Tokens are counted in units: every report of a trial costs one, and all reports take the same time.
"""

import heapq
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from optuna.distributions import BaseDistribution

from spaces.experiment import ParamValue

Params = dict[str, ParamValue]
WORST = 100.0
"""What stands for a loss that is not finite, in nats, so that no library has to defend itself. Nothing that
trains comes near it."""
SLOTS = 4


@dataclass(frozen=True)
class Configuration:
    """What a task trains for the values of a trial."""

    key: int
    """Of a table, which row: no other trial of a search gets it."""
    curve: Sequence[float]
    """Expected eval NLL after each unit, in nats."""
    steps_per_unit: int = 1
    step_noise: float = 0.0
    """Relative standard deviation of the training loss of one step."""


@dataclass(frozen=True)
class Task:
    """Something to search."""

    name: str
    family: str
    space: Mapping[str, BaseDistribution]
    units: int
    """Reports of a whole trial."""
    draw: Callable[[random.Random, set[int]], Params]
    """Draw values at random; of a table, those of a row that is not taken."""
    place: Callable[[Params, set[int]], Configuration]
    """Return the configuration for values; of a table, the nearest row that is not taken."""
    best: float
    """Lowest eval NLL that any configuration is known to end with."""
    noise: float
    """Relative standard deviation of every report."""
    most_trials: int
    """A table has no more."""
    budget: int
    """Units after which the regret is read."""
    cap: int
    """Units after which a race is given up."""


class Method(Protocol):
    """A way to search; each is run by its own library."""

    def ask(self) -> tuple[int, Params] | None:
        """Return a trial to begin, or one that paused to be taken up again; None to wait for a report."""

    def report(self, trial: int, unit: int, nll: float, loss: Sequence[float]) -> bool:
        """Take the report of a trial after its `unit`-th unit; tell whether it goes on.

        Args:
            trial: What `ask` named.
            unit: Counted from 1.
            nll: Eval NLL with its noise.
            loss: Training loss of each step of the unit.
        """


MakeMethod = Callable[[Task, int], Method]
"""Makes a method for a task and a seed."""


@dataclass
class Raced:
    """What came of a race."""

    reached: float = math.inf
    """Units until a trial within 1% of the best known had run to its end; inf when none ever did."""
    regret: float = math.inf
    """Of the trial named after `Task.budget` units: its true NLL over the best known, less 1."""
    spent: int = 0
    trials: int = 0


@dataclass
class _Trial:
    number: int
    configuration: Configuration
    unit: int = 0
    seen: float = math.inf


@dataclass
class _State:
    done: Raced = field(default_factory=Raced)
    trials: dict[int, _Trial] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    finished: list[_Trial] = field(default_factory=list)


def race(task: Task, make: MakeMethod, seed: int, cap: int | None = None) -> Raced:
    """Let a method search until it has reached the goal and used its budget.

    Args:
        task: What is searched.
        make: Makes the method.
        seed: Of the method and of the noise.
        cap: Units after which it is given up; None is the task's own.
    """
    most = task.cap if cap is None else cap
    method, state = make(task, seed), _State()
    clock: list[tuple[int, int, int]] = []
    idle, turn, now = SLOTS, 0, 0
    while True:
        while idle and (trial := _ask(method, task, state)) is not None:
            turn, idle = turn + 1, idle - 1
            heapq.heappush(clock, (now + 1, turn, trial.number))
        if not clock:
            break
        now, _, number = heapq.heappop(clock)
        if _advance(method, task, state, state.trials[number], seed):
            turn += 1
            heapq.heappush(clock, (now + 1, turn, number))
        else:
            idle += 1
        if state.done.spent >= most or (state.done.reached < math.inf and state.done.spent >= task.budget):
            break
    state.done.trials = len(state.trials)
    if math.isinf(state.done.regret):
        state.done.regret = _regret(task, state)
    return state.done


def _ask(method: Method, task: Task, state: _State) -> _Trial | None:
    asked = method.ask() if len(state.taken) < task.most_trials else None
    if asked is None:
        return None
    number, params = asked
    if number not in state.trials:
        configuration = task.place(params, state.taken)
        state.taken.add(configuration.key)
        state.trials[number] = _Trial(number, configuration)
    return state.trials[number]


def _advance(method: Method, task: Task, state: _State, trial: _Trial, seed: int) -> bool:
    """Train a trial for one unit; tell whether it goes on."""
    true = trial.configuration.curve[trial.unit]
    trial.unit += 1
    state.done.spent += 1
    dice = random.Random(f"{seed} {trial.configuration.key} {trial.unit}")
    trial.seen = true * (1 + task.noise * dice.gauss(0, 1)) if true < WORST else WORST
    goes_on = method.report(trial.number, trial.unit, trial.seen, _losses(trial, dice))
    if trial.unit == task.units:
        state.finished.append(trial)
        if true <= 1.01 * task.best:
            state.done.reached = min(state.done.reached, state.done.spent)
    if state.done.spent == task.budget:
        state.done.regret = _regret(task, state)
    return goes_on and trial.unit < task.units


def _losses(trial: _Trial, dice: random.Random) -> list[float]:
    one = trial.configuration
    if one.steps_per_unit == 1 and one.step_noise == 0:
        return [trial.seen]
    before = one.curve[trial.unit - 2] if trial.unit > 1 else one.curve[0]
    rise = (one.curve[trial.unit - 1] - before) / one.steps_per_unit
    return [(before + k * rise) * (1 + one.step_noise * dice.gauss(0, 1)) for k in range(one.steps_per_unit)]


def _regret(task: Task, state: _State) -> float:
    """Return the regret of the trial with the lowest reported NLL, a finished one if there is any."""
    among = state.finished or [trial for trial in state.trials.values() if trial.unit]
    named = min(among, key=lambda trial: trial.seen)
    return named.configuration.curve[-1] / task.best - 1
