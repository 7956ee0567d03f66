"""What a search costs its driver as it grows: `python -m tests.bench.scale`.

The objects a real search consists of (study, searcher, halving, recorder, ledger, progress) are driven as
Ray Tune drives them, by trials that train nothing and take no time. So the figures are the driver's own CPU
time and memory, without Ray's.
"""

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from search.confirming import wanted
from search.halving import Halving
from search.ledger import FILE_NAME, Ledger
from search.progress import Progress
from search.recorder import Recorder, TuneRecorder
from search.retention import Keeper
from search.scheduler import TokenHalving
from search.searcher import StudySearcher
from search.stalled import Peers, StallRule
from search.state import SearchState
from search.study import Study
from spaces.experiment import Experiment
from tests.simulation.world import MAX_TOKENS, WINDOW_TOKENS, experiment
from train_fn.report import Evaluation, Outcome, Point, Report

EXAMPLES = 256
"""Held-out examples of an evaluation."""
TOKENS = (7,) * EXAMPLES
POINTS = 16
GOAL = 1.5


@dataclass
class Cost:
    """CPU seconds of the driver, by what for."""

    report_s: float = 0.0
    reports: int = 0
    decision_s: float = 0.0
    decisions: int = 0
    proposal_s: float = 0.0
    proposals: int = 0


@dataclass(frozen=True)
class Figures:
    """One simulated search."""

    trials: int
    slots: int
    report_us: float
    """CPU per report without an evaluation: written down, folded, shown."""
    decision_us: float
    """CPU per report that is judged at a rung."""
    proposal_ms: float
    """CPU per trial: asked for, started, ended, told, its folder cleared."""
    peak_mib: float
    """Of the whole process."""


@dataclass
class _Live:
    """Stands for Tune's trial: the search reads its config and nothing else."""

    config: dict[str, Any]
    trial_id: str
    dice: random.Random
    quality: float
    windows: int = 0
    noise: list[float] = field(default_factory=list)


def search(trials: int, slots: int, folder: Path, kind: str = "tpe") -> Figures:
    """Drive one search to its end and return what it cost."""
    plan = experiment(trials, kind=kind)
    ledger = Ledger(folder / FILE_NAME)
    progress = Progress(plan, Console(file=StringIO()))
    study = Study.open(plan, folder)
    recorder = Recorder(ledger, SearchState(), (progress.update,))
    halving = Halving(plan.halving, MAX_TOKENS)
    keeper = Keeper(recorder, folder / "trials", plan.budget.keep_weights)
    callback = TuneRecorder(recorder, study, plan.base, keeper.ended)
    peers = Peers(StallRule(), MAX_TOKENS, WINDOW_TOKENS)
    scheduler = TokenHalving(halving, callback.decided, peers, callback.stalled)
    searcher = StudySearcher(study, trials, lambda: wanted(recorder.state, plan.confirm))
    cost = Cost()
    live: list[_Live] = []
    asked = 0
    while True:
        while len(live) < slots:
            started = _start(searcher, callback, cost, asked)
            if started is None:
                break
            live.append(started)
            asked += 1
        if not live:
            break
        live = [one for one in live if _advance(one, plan, scheduler, callback, cost)]
        for name in {one.trial_id for one in live} ^ set(searcher._live):
            searcher.on_trial_complete(name)
    ledger.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Figures(
        trials,
        slots,
        1e6 * cost.report_s / cost.reports,
        1e6 * cost.decision_s / cost.decisions,
        1e3 * cost.proposal_s / cost.proposals,
        peak,
    )


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def _start(searcher: StudySearcher, callback: TuneRecorder, cost: Cost, asked: int) -> _Live | None:
    name = f"trial-{asked}"
    config, seconds = _timed(lambda: searcher.suggest(name))
    cost.proposal_s += seconds
    if not isinstance(config, dict):
        return None
    dice = random.Random(asked)
    trial = _Live(config, name, dice, dice.random(), noise=[dice.gauss(0, 1) for _ in range(EXAMPLES)])
    _, seconds = _timed(lambda: callback.on_trial_start(0, [], trial))
    cost.proposal_s += seconds
    cost.proposals += 1
    return trial


def _advance(
    trial: _Live, plan: Experiment, scheduler: TokenHalving, callback: TuneRecorder, cost: Cost
) -> bool:
    """Send one more window of a trial; tell whether it goes on."""
    trial.windows += 1
    tokens = trial.windows * WINDOW_TOKENS
    last = tokens >= MAX_TOKENS
    due = last or any(tokens - WINDOW_TOKENS < rung <= tokens for rung in scheduler._halving.rungs)
    report = _report(trial, tokens, due)
    number = int(trial.config["trial"])
    before = callback._recorder.state.trials[number].decision
    verdict, seconds = _timed(lambda: scheduler.on_trial_result(None, trial, {"report": report}))
    _, more = _timed(lambda: callback.on_trial_result(0, [], trial, {"report": report}))
    stopped = verdict == "STOP"
    if callback._recorder.state.trials[number].decision is not before and not stopped:
        cost.decision_s += seconds + more
        cost.decisions += 1
    elif stopped:
        cost.proposal_s += seconds + more  # it ends with it
    elif not due:
        cost.report_s += seconds + more
        cost.reports += 1
    if last and not stopped:
        nll = report.eval.nll if report.eval else None
        outcome = Outcome(report.trial, "finished", "done", tokens, 1, 0, nll, 0.01, 1.0, 0.0, None)
        _, seconds = _timed(lambda: callback.on_trial_result(0, [], trial, {"outcome": outcome}))
        cost.proposal_s += seconds
    return not (stopped or last)


def _report(trial: _Live, tokens: int, evaluated: bool) -> Report:
    number = int(trial.config["trial"])
    mean = 3 + trial.quality + 2 * 0.5 ** (tokens / 20_000)
    evaluation = None
    if evaluated:
        nlls = tuple(mean + 0.05 * x for x in trial.noise)
        evaluation = Evaluation(statistics.fmean(nlls), 0.01, nlls, TOKENS, 0.1)
    points = tuple(Point(tokens - POINTS + k, mean + 0.1 * k, mean, mean) for k in range(POINTS))
    figures = (mean, points, 1e-4, 1.0, 0.0, 0, 0.0, 0, "falling", 1000.0, 1.0, 0.1, evaluation)
    return Report(number, tokens, tokens // 500, 6, *figures)


def main() -> None:
    """Run searches of growing size, print a table, and one JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--slots", type=int, nargs="+", default=[8, 16, 64, 256, 512])
    parser.add_argument("--kind", default="tpe")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"{'trials':>7} {'slots':>6} {'report':>10} {'decision':>10} {'trial':>10} {'peak':>10}")
    rows = []
    for trials in args.trials:
        for slots in args.slots:
            with tempfile.TemporaryDirectory() as folder:
                row = search(trials, slots, Path(folder), args.kind)
            rows.append(row)
            print(
                f"{trials:>7} {slots:>6} {row.report_us:>7.0f} us {row.decision_us:>7.0f} us "
                f"{row.proposal_ms:>7.2f} ms {row.peak_mib:>6.0f} MiB",
                flush=True,
            )
    smallest, largest = rows[: len(args.slots)], rows[-len(args.slots) :]
    ratios = [
        max(b.report_us / a.report_us, b.decision_us / a.decision_us)
        for a, b in zip(smallest, largest, strict=True)
    ]
    line = {
        "name": "scale",
        "ratio": round(max(ratios), 2),
        "goal": GOAL,
        "better": "lower",
        "runs": [round(ratio, 2) for ratio in ratios],
        "trial_ms": [round(row.proposal_ms, 2) for row in rows],
        "peak_mib": [round(row.peak_mib) for row in rows],
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
