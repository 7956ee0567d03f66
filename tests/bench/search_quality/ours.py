"""Our own search: the study, the halving and the doom rules as they are, without Ray."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from search.halving import Decision, Halving
from search.stalled import Peers, StallRule
from search.study import Study
from spaces import exp4
from spaces.experiment import BudgetConfig, Experiment, HalvingConfig, SamplerConfig
from tests.bench.doom_rules import window_report
from tests.bench.search_quality.race import WORST, MakeMethod, Params, Task
from train_fn.config import RunConfig, TrainConfig
from train_fn.curve import Curve
from train_fn.doom import DoomConfig, judge
from train_fn.report import Evaluation, Outcome, Status

UNIT_TOKENS = 1_000
EXAMPLES = 16
TOKENS = (1,) * EXAMPLES
FIRST_RUNG = 0.04
"""Share of a trial's tokens before it is judged for the first time."""


@dataclass(frozen=True)
class Settings:
    """What an ablation may switch off; otherwise exp4's sampler on a cluster, and the search's defaults."""

    halving: HalvingConfig = field(default_factory=HalvingConfig)
    """Its first rung is put at `first_rung` of a trial."""
    first_rung: float = FIRST_RUNG
    sampler: SamplerConfig = exp4.SAMPLER
    doom: bool = True
    """Whether a trial is ended for its own curve alone, or for a loss that is not finite."""
    stalled: bool = True
    """Whether a trial is ended that is stalled far above its peers."""
    hindsight: bool = True
    """Whether a trial is judged again at the rungs behind it."""
    plain: bool = False
    """Whether Optuna's sampler is told how trials ended, and not what they would end with."""
    told_complete: bool = False
    """Whether a halved trial is told as if it had run to its end; only a plain sampler would notice."""
    in_order: bool = True
    """Whether the sampler may know that choices are numbers."""


def ours(settings: Settings = Settings()) -> MakeMethod:
    """Return what makes our search of a task."""
    return lambda task, seed: _Ours(task, seed, settings)


class _PlainStudy(Study):
    """Proposes by Optuna's sampler as it is, told of each trial when it has ended and how."""

    def _sampler(self, number: int) -> BaseSampler:
        config = self._experiment.sampler
        seed = 1_000 * config.seed + number
        if config.kind == "gp":
            return GPSampler(n_startup_trials=config.startup_trials, seed=seed)
        return TPESampler(
            multivariate=True, constant_liar=True, n_startup_trials=config.startup_trials, seed=seed
        )


class _Once(Halving):
    """Judges a trial once at each rung and never looks back."""

    def _with_hindsight(self, decision: Decision) -> Decision:
        return decision


def _as_words(space: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    """Return the space with words for choices, which have no order."""
    return {
        name: CategoricalDistribution([str(one) for one in d.choices])
        if isinstance(d, CategoricalDistribution)
        else d
        for name, d in space.items()
    }


@dataclass
class _Live:
    curve: Curve
    evaluations: dict[int, float] = field(default_factory=dict)


class _Ours:
    def __init__(self, task: Task, seed: int, settings: Settings) -> None:
        most = task.units * UNIT_TOKENS
        first = max(UNIT_TOKENS, round(settings.first_rung * task.units) * UNIT_TOKENS)
        plan = Experiment(
            name=task.name,
            profile="laptop",
            description="benchmark",
            base=TrainConfig(
                run=RunConfig(max_tokens=most, window_tokens=UNIT_TOKENS),
                doom=DoomConfig(enabled=settings.doom),
            ),
            space=task.space if settings.in_order else _as_words(task.space),
            budget=BudgetConfig(trials=task.most_trials),
            halving=replace(settings.halving, first_rung_tokens=first),
            sampler=replace(settings.sampler, seed=seed),
        )
        study = optuna.create_study(direction="minimize", sampler=RandomSampler(seed=seed))
        self._study = (_PlainStudy if settings.plain else Study)(plan, study)
        self._halving = (Halving if settings.hindsight else _Once)(plan.halving, most)
        self._peers = Peers(StallRule(enabled=settings.stalled), most, UNIT_TOKENS)
        self._plan, self._task, self._settings = plan, task, settings
        self._dice = random.Random(seed)
        self._live: dict[int, _Live] = {}

    def ask(self) -> tuple[int, Params]:
        number, params = self._study.ask()
        self._live[number] = _Live(Curve.fresh(int(params.get("optim.effective_batch_size", 1))))
        return number, params if self._settings.in_order else self._out_of_words(params)

    def _out_of_words(self, params: Params) -> Params:
        """Return the values of the task for those of a space of words."""
        found = dict(params)
        for name, d in self._task.space.items():
            if isinstance(d, CategoricalDistribution):
                found[name] = next(one for one in d.choices if str(one) == params[name])  # type: ignore[assignment]
        return found

    def report(self, trial: int, unit: int, nll: float, loss: Sequence[float]) -> bool:
        live, tokens = self._live[trial], unit * UNIT_TOKENS
        for k, one in enumerate(loss):
            seen = tokens - UNIT_TOKENS + (k + 1) * UNIT_TOKENS // len(loss)
            live.curve.add(seen, one if one < WORST else math.nan, 1.0, 0.0, False)
        last, most = unit == self._task.units, self._plan.base.run.max_tokens
        verdict = judge(live.curve, self._plan.base.doom, most)
        if verdict is None and self._settings.stalled:
            told = [one for one in loss if one < WORST]
            verdict = self._peers.judge(window_report(trial, tokens, live.curve, told), {})
        if verdict is not None:
            return self._end(trial, verdict.status, tokens)
        if not last and not any(tokens - UNIT_TOKENS < rung <= tokens for rung in self._halving.rungs):
            return True
        if nll >= WORST and self._settings.doom:
            return self._end(trial, "diverged", tokens)
        live.evaluations[tokens] = nll
        if last:
            return self._end(trial, "finished", tokens)
        self._study.hear(trial, live.evaluations)
        decision = self._halving.decide(trial, tokens, self._evaluation(nll))
        if decision is not None and not decision.keep:
            return self._end(trial, "halved", tokens)
        return True

    def _evaluation(self, nll: float) -> Evaluation:
        """Return held-out examples whose scatter is that of the noise of their mean."""
        scatter = self._task.noise * nll * math.sqrt(EXAMPLES)
        draws = [self._dice.gauss(0, scatter) for _ in TOKENS]
        mean = math.fsum(draws) / EXAMPLES
        return Evaluation(nll, self._task.noise * nll, tuple(nll + d - mean for d in draws), TOKENS, 0.0)

    def _end(self, trial: int, status: Status, tokens: int) -> bool:
        evaluations = self._live.pop(trial).evaluations
        nll = list(evaluations.values())[-1] if evaluations else None
        if status == "halved" and self._settings.told_complete:
            status = "finished"
        outcome = Outcome(trial, status, "", tokens, 0, 0, nll, None, 0.0, 0.0, None)
        self._study.tell(outcome, evaluations)
        self._halving.ended(trial, status)
        return False
