"""A search written by the search's own code: ledger, halving and study, with invented losses."""

import heapq
import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from search.confirming import wanted
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
from search.halving import Decision, Halving
from search.ledger import FILE_NAME, Ledger, read_events
from search.state import SearchState, replay
from search.study import Repeat, Study
from spaces import space
from spaces.describe import describe
from spaces.experiment import (
    BudgetConfig,
    ConfirmConfig,
    Experiment,
    HalvingConfig,
    ParamValue,
    ResourcesConfig,
    SamplerConfig,
)
from train_fn.config import RunConfig, TrainConfig
from train_fn.curve import smooth
from train_fn.data_report import DataReport, Shown, write_report
from train_fn.report import Evaluation, Outcome, Point, Report, Status
from train_fn.times import Times

MAX_TOKENS, WINDOW, FIRST_RUNG = 9_000, 500, 1_000
EXAMPLES = 40
BASE_NLL = 6.0
START = 1_700_000_000.0
DOOMED_LR = 1e-2
SEED_SD = 0.002
START_UP_S, WINDOW_S, EVAL_S = 1.0, 2.0, 0.5


def experiment(
    name: str = "exp9",
    trials: int = 12,
    objectives: bool = False,
    gpus: float = 0.0,
    confirm: ConfirmConfig | None = None,
) -> Experiment:
    paths: dict[str, BaseDistribution] = {
        "optim.lr": FloatDistribution(1e-6, 1e-1, log=True),
        "optim.effective_batch_size": CategoricalDistribution((4, 16, 64)),
    }
    if objectives:
        paths["optim.objective"] = CategoricalDistribution(("response", "clm"))
    return Experiment(
        name=name,
        profile="laptop",
        description="A search for tests.",
        base=TrainConfig(run=RunConfig(max_tokens=MAX_TOKENS, window_tokens=WINDOW)),
        space=paths,
        budget=BudgetConfig(trials=trials),
        halving=HalvingConfig(eta=3, spacing=3.0, first_rung_tokens=FIRST_RUNG, extra_survivors=0.25),
        sampler=SamplerConfig(kind="random"),
        confirm=confirm or ConfirmConfig(top=0),
        resources=ResourcesConfig(slots=2, ranks_per_slot=2, gpus_per_rank=gpus),
    )


def evaluation(nll: float, seed: int) -> Evaluation:
    """Examples some of which are hard for everybody, and a little noise of the trial's own."""
    hard, own = random.Random(0), random.Random(seed)
    tokens = [hard.randint(3, 30) for _ in range(EXAMPLES)]
    values = [nll + hard.gauss(0, 1) + own.gauss(0, 0.05) for _ in range(EXAMPLES)]
    off = sum(v * t for v, t in zip(values, tokens, strict=True)) / sum(tokens) - nll
    return Evaluation(nll, 0.15, tuple(v - off for v in values), tuple(tokens), EVAL_S)


@dataclass
class Run:
    """A trial that trains."""

    number: int
    params: Mapping[str, ParamValue]
    points: int
    repeat: Repeat | None = None
    tokens: int = 0
    steps: int = 0
    spikes: int = 0
    overflow_steps: int = 0
    losses: tuple[float, ...] = ()

    @property
    def lr(self) -> float:
        return float(self.params["optim.lr"])

    @property
    def doomed(self) -> bool:
        return self.lr > DOOMED_LR

    def nll(self) -> float:
        wrong = 0.4 * (math.log10(self.lr) + 3.5) ** 2
        worse = 0.02 * (math.log2(float(self.params["optim.effective_batch_size"])) - 4) ** 2
        worse += 0.3 * (self.params.get("optim.objective") == "clm")
        luck = 0.0 if self.repeat is None else random.Random(self.number).gauss(0, SEED_SD)
        return 2.5 + wrong * 0.3 + worse + 3 * math.exp(-self.tokens / 3_000) + luck

    def window(self) -> Report:
        dice = random.Random(1000 * self.number + self.tokens)
        step, before = WINDOW // self.points, self.tokens
        self.tokens, self.steps = before + WINDOW, self.steps + self.points
        level = self.nll() * (1 + self.doomed * self.tokens / WINDOW)
        new = [level + dice.gauss(0, 0.05) for _ in range(self.points)]
        if self.number % 3 == 0 and before == 4 * WINDOW:
            new[self.points // 2] = level + 4.0
            self.spikes += 1
        self.overflow_steps += 2 * (self.number % 4 == 1)
        self.losses += tuple(new)
        fast, slow = (smooth(self.losses, factor)[-self.points :] for factor in (0.9, 0.98))
        at = [before + step * (i + 1) for i in range(self.points)]
        due = self.tokens in (FIRST_RUNG, 3 * FIRST_RUNG, MAX_TOKENS) and not self.doomed
        return Report(
            trial=self.number,
            tokens_seen=self.tokens,
            steps=self.steps,
            window_steps=self.points,
            loss=sum(new) / len(new),
            points=tuple(map(Point, at, new, fast, slow)),
            lr=self.lr,
            grad_norm=1.0,
            loss_scale=0.0,
            overflow_steps=self.overflow_steps,
            window_overflow_rate=0.0,
            spikes=self.spikes,
            trend="flat",
            tokens_per_s=WINDOW / WINDOW_S,
            train_s=WINDOW_S * self.tokens / WINDOW,
            start_overhead_s=START_UP_S,
            eval=evaluation(self.nll(), self.number) if due else None,
            times=self.times(),
        )

    def outcome(self, status: Status, reason: str, evaluated: Evaluation | None) -> Outcome:
        return Outcome(
            trial=self.number,
            status=status,
            reason=reason,
            tokens_seen=self.tokens,
            steps=self.steps,
            overflow_steps=self.overflow_steps,
            eval_nll=None if evaluated is None else evaluated.nll,
            eval_nll_stderr=None if evaluated is None else evaluated.stderr,
            train_s=WINDOW_S * self.tokens / WINDOW,
            start_overhead_s=START_UP_S,
            checkpoint=f"trials/{self.number:04d}" if status == "finished" else None,
            times=self.times(),
        )

    def times(self) -> Times:
        trained = WINDOW_S * self.tokens / WINDOW
        return Times(
            start_s=START_UP_S, forward_s=0.25 * trained, backward_s=0.5 * trained, step_s=0.25 * trained
        )


def write_search(
    storage: Path,
    about: Experiment | None = None,
    *,
    points: int = 4,
    data_key: str = "data-1",
    ended: bool = True,
) -> Path:
    """Play a search on two slots and leave its folder; return the folder."""
    about = about or experiment()
    folder = storage / about.name
    study, rules = Study.open(about, folder), Halving(about.halving, MAX_TOKENS)
    ledger = Ledger(folder / FILE_NAME)
    evaluated: dict[int, dict[int, Evaluation]] = {}
    ledger.append(SearchStarted(START, describe(about), "laptop", data_key, "abc123"))
    ledger.append(BaselineMeasured(START + 0.5, evaluation(BASE_NLL, 9)))
    free = [(START + 1.0, slot) for slot in range(2)]
    running: dict[int, Run] = {}
    now = START
    while free:
        now, slot = heapq.heappop(free)
        if slot not in running:
            repeat = None
            if study.count() < about.budget.trials:
                number, params = study.ask()
            elif any(one.repeat is None for one in running.values()):
                heapq.heappush(free, (now + WINDOW_S, slot))  # nobody knows the best yet
                continue
            else:
                known = replay(read_events(folder / FILE_NAME)) if about.confirm.top else SearchState()
                repeat = next(
                    (r for r in wanted(known, about.confirm) if not study.is_repeated(r)),
                    None,
                )
                if repeat is None:
                    continue
                number, params = study.repeat(repeat)
            running[slot] = Run(number, params, points, repeat)
            confirms, seed = (None, None) if repeat is None else (repeat.of, repeat.seed)
            config = asdict(space.apply(about.base, params, seed))
            ledger.append(TrialStarted(now, number, 0, params, config, confirms))
            heapq.heappush(free, (now + START_UP_S + WINDOW_S, slot))
            continue
        run = running[slot]
        events, outcome = _advance(run, now, rules, evaluated.setdefault(run.number, {}))
        for event in events:
            ledger.append(event)
        if outcome is not None:
            study.tell(outcome, {tokens: e.nll for tokens, e in evaluated[run.number].items()})
            del running[slot]
        spent = EVAL_S if run.tokens in evaluated[run.number] else 0.0
        heapq.heappush(free, (now + (0.25 if outcome else WINDOW_S + spent), slot))
    if ended:
        ledger.append(SearchEnded(now, "finished", now - START))
    ledger.close()
    write_report(data_report(), folder / "data_report.json")
    return folder


def _advance(
    run: Run, now: float, rules: Halving, evaluated: dict[int, Evaluation]
) -> tuple[list[Event], Outcome | None]:
    report = run.window()
    events: list[Event] = [Reported(now, report)]
    outcome = None
    decision: Decision | None = None
    if report.eval is not None:
        evaluated[run.tokens] = report.eval
        if run.tokens < MAX_TOKENS and run.repeat is None:
            decision = rules.decide(run.number, run.tokens, report.eval)
    last = max(evaluated.items(), default=(0, None))[1]
    if decision is not None:
        events.append(Decided(now, decision))
        if not decision.keep:
            outcome = run.outcome("halved", decision.reason, last)
    if run.doomed and run.tokens >= 3 * WINDOW:
        outcome = run.outcome("diverged", "stopped at 1.5k tokens: smoothed loss too high", None)
    if run.tokens >= MAX_TOKENS:
        outcome = run.outcome("finished", "trained its budget", last)
    if outcome is not None:
        events.append(Ended(now, outcome))
    return events, outcome


def data_report() -> DataReport:
    return DataReport(
        read=100,
        train=50,
        eval=EXAMPLES,
        dropped={"language": 7, "over-length": 3},
        shown={"language": (Shown("a.jsonl:1", "<script>alert('data')</script>"),), "over-length": ()},
        train_tokens=5_000,
        eval_tokens=4_000,
        eval_answer_tokens=700,
        sources=("a.jsonl",),
        conversations=20,
    )


def append(folder: Path, *events: Event) -> None:
    """Add events to a search that was written."""
    ledger = Ledger(folder / FILE_NAME)
    for event in events:
        ledger.append(event)
    ledger.close()


def keep_lines(folder: Path, count: int) -> None:
    """Cut a ledger after its first lines, as a command that was killed leaves it."""
    path = folder / FILE_NAME
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:count]))
