"""`python -m search.trial exp4 --set optim.lr=1e-4`: one trial alone, without a search, for debugging."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import experiment_parser, prepare_environment, resolve
from spaces.experiment import Experiment
from spaces.words import times_text
from train_fn.command import run_command
from train_fn.data_report import DataReport
from train_fn.errors import InputError
from train_fn.report import Outcome, Report

if TYPE_CHECKING:
    from train_fn.stepping import Watch

TRACE_NAME = "trace.json"
MAX_TRACED_STEPS = 20
"""More are no easier to read, and a viewer loads them all at once."""


def main() -> int:
    """Train the base configuration of an experiment in this process and print every window.

    Returns:
        The exit code: 0 when the trial finished, 1 when it ended otherwise.

    Raises:
        InputError: The arguments are wrong, or the trial was too short for the trace that was asked for.
    """
    started = time.time()
    parser = experiment_parser(__doc__ or "")
    parser.add_argument(
        "--trace", metavar="STEPS",
        help=f"also record that many optimizer steps into {TRACE_NAME} in the trial's folder",
    )  # fmt: skip
    args = parser.parse_args()
    steps = None if args.trace is None else trace_steps(args.trace)
    experiment = resolve(args)
    prepare_environment()
    from search.data import prepared_data
    from train_fn.before import evaluate_base
    from train_fn.checkpoint_files import remove_all
    from train_fn.clock import Clock
    from train_fn.limits import check_vocabulary
    from train_fn.loop import train
    from train_fn.model import load_base
    from train_fn.tokenizer import save_tokenizer
    from train_fn.working_copy import local_storage

    clock = Clock(started)
    config = experiment.base
    storage = local_storage(args.storage)
    clock.at("data")
    prepared = prepared_data(config, storage, print)
    check_batch(experiment, prepared.report)
    clock.at("weights")
    base = load_base(config.model)
    check_vocabulary(config.model, base.config.vocab_size, prepared.report.highest_token)
    clock.at("evaluate")
    before = evaluate_base(base, config, prepared, storage / "cache")
    print(f"base model: eval NLL {before.nll:.4f} ± {before.stderr:.4f}")
    workspace = storage / f"{experiment.name}-trial" / time.strftime("%Y%m%d-%H%M%S")
    trace = workspace / TRACE_NAME
    with watching(trace, steps) as watch:
        outcome = train(config, 0, prepared, base, workspace, print_report, started, watch=watch, clock=clock)
    assert outcome is not None, "nobody stops a trial that runs alone"
    remove_all(workspace)
    print(f"{outcome.status}: {outcome.reason}")
    assert outcome.times is not None, "a trial that ends here has measured itself"
    print(f"time: {times_text(outcome.times)}")
    if outcome.checkpoint:
        save_tokenizer(config.model, Path(outcome.checkpoint))
        print(f"weights: {outcome.checkpoint}")
    if steps is not None:
        check_trace(trace, steps, outcome)
        print(f"trace: {trace}")
    return 0 if outcome.status == "finished" else 1


def check_batch(experiment: Experiment, report: DataReport) -> None:
    """Refuse a trial whose optimizer step is larger than its data or its budget.

    Raises:
        InputError: It is.
    """
    from search.data_size import counted_size
    from search.refusals import batch_problems

    alone = replace(experiment, space={}, known_good=())
    for problem in batch_problems(alone, counted_size(report)):
        raise InputError(problem)


def trace_steps(text: str) -> int:
    """Read how many optimizer steps to trace.

    Raises:
        InputError: It is no whole number in the range.
    """
    if text not in map(str, range(1, MAX_TRACED_STEPS + 1)):
        rule = f"must be a whole number of optimizer steps from 1 to {MAX_TRACED_STEPS}"
        raise InputError(f"--trace {text[:20]!r} {rule}; give --trace 3")
    return int(text)


@contextmanager
def watching(trace: Path, steps: int | None) -> "Iterator[Watch]":
    """Yield what a trial tells where it stands: the profiler, or nobody when no steps are to be traced."""
    from train_fn.loop import unwatched
    from train_fn.trace import traced

    if steps is None:
        yield unwatched
        return
    with traced(trace, steps) as watch:
        yield watch


def check_trace(trace: Path, steps: int, outcome: Outcome) -> None:
    """Refuse a trace that the trial was too short for.

    Raises:
        InputError: There is none.
    """
    from train_fn.trace import steps_needed

    if not trace.is_file():
        raise InputError(
            f"--trace {steps} needs a trial of {steps_needed(steps)} optimizer steps, and this one took "
            f"{outcome.steps}; raise run.max_tokens or trace fewer"
        )


def print_report(report: Report) -> bool:
    """Print one window as a line; the trial always goes on."""
    ema = f" (smoothed {report.points[-1].ema_90:.3f})" if report.points else ""
    scale = f" loss scale {report.loss_scale:g}" if report.loss_scale else ""
    judged = f" eval NLL {report.eval.nll:.4f} ± {report.eval.stderr:.4f}" if report.eval else ""
    print(
        f"{report.tokens_seen:>10,} tokens {report.steps:>6,} steps  loss {report.loss:.3f}{ema}"
        f"  lr {report.lr:.3g}  grad norm {report.grad_norm:.3g}{scale}"
        f"  {report.tokens_per_s:,.0f} tokens/s{judged}",
        flush=True,
    )
    return True


if __name__ == "__main__":
    run_command(main)
