"""One trial, from its first step to its outcome."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from train_fn import checkpoint
from train_fn.clock import Clock
from train_fn.config import TrainConfig
from train_fn.curve import Curve
from train_fn.departure import Departing, all_stay
from train_fn.doom import Verdict, judge
from train_fn.engine import Engine, LossScaleExhaustedError
from train_fn.evaluate import evaluate
from train_fn.layers import compile_layers
from train_fn.loss import PackedLoss
from train_fn.model import BaseModel, fresh_model
from train_fn.precision import DTYPES, choose_precision, trial_device
from train_fn.prepared import Prepared
from train_fn.progress import Progress
from train_fn.ranks import from_rank_0
from train_fn.report import Evaluation, Outcome, Report, Status
from train_fn.saving import Saver
from train_fn.stepping import Stepper, Watch
from train_fn.times import Times
from train_fn.typed import from_plain
from train_fn.window import Step, Window, fetch_window

Emit = Callable[[Report], bool]


def unwatched(steps: int, place: int | None) -> None:
    """Let a trial run without anybody watching it."""


def train(
    config: TrainConfig,
    trial: int,
    prepared: Prepared,
    base: BaseModel,
    workspace: Path,
    emit: Emit,
    started_at: float,
    skip: Collection[int] = (),
    watch: Watch = unwatched,
    departing: Departing = all_stay,
    clock: Clock | None = None,
) -> Outcome | None:
    """Train one trial, or take it up from its newest checkpoint.

    Runs on every rank of the process group; without one it makes a group of this process alone.

    Args:
        config: The trial, complete.
        trial: Its number.
        prepared: Tokenised training and held-out examples.
        base: The base model.
        workspace: The trial's folder: `checkpoints/` while it runs, `weights/` once it has finished.
        emit: Called on rank 0 with the report of each window; False says that nobody wants the trial.
        started_at: `time.time()` at which the trial was assigned.
        skip: Places in the order of examples; a step that would begin at one is left out.
        watch: See `Watch`; called on every rank.
        departing: See `Departing`; called on every rank at every window border but the last.
        clock: What the trial's time goes into, where that was measured before this call; None measures it
            from `started_at` on.

    Returns:
        How the trial ended, or None when `emit` said False. The same on all ranks.

    Raises:
        InputError: The device cannot do what the configuration asks for, or a checkpoint cannot be written.
    """
    clock = clock or Clock(started_at)
    clock.at("weights")
    device = trial_device()
    clock.follow(device)
    join_group(device)
    precision, reason = choose_precision(config.engine.precision, device)
    if distributed.get_rank() == 0:
        print(f"trial {trial}: {reason}", flush=True)
    torch.manual_seed(config.run.seed)  # the same adapters on all ranks ...
    module = PackedLoss(fresh_model(base, config, DTYPES[precision], device))
    torch.manual_seed(config.run.seed + distributed.get_rank())  # ... but not the same dropout
    if config.engine.compile:
        compile_layers(module.model, device)
    engine = Engine(module, config, precision, device, clock)
    del module
    saver = Saver(engine, workspace, config.run)
    try:
        run = _Run(
            config, trial, prepared, workspace, emit, started_at, engine, saver, skip, watch, departing, clock
        )
        outcome = run.train()
        clock.at("checkpoint")
        if outcome.status == "finished":
            folder = workspace / "weights"
            checkpoint.export_weights(engine, base, config, DTYPES[precision], folder)
            outcome = dataclasses.replace(outcome, checkpoint=str(folder))
    except _UnwantedError:
        saver.wait()
        return None
    finally:
        saver.discard()
        clock.at("other")
        engine.destroy()
    return dataclasses.replace(outcome, times=clock.times())


class _UnwantedError(Exception):
    """Nobody wants the trial any more."""


def join_group(device: torch.device) -> None:
    """Make this process a group of its own, unless it belongs to one."""
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed refuses to start without it
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)


class _Run:
    """The trial while it runs: holds what all windows share."""

    def __init__(
        self,
        config: TrainConfig,
        trial: int,
        prepared: Prepared,
        workspace: Path,
        emit: Emit,
        started_at: float,
        engine: Engine,
        saver: Saver,
        skip: Collection[int],
        watch: Watch,
        departing: Departing,
        clock: Clock,
    ) -> None:
        self.config, self.trial, self.prepared = config, trial, prepared
        self.emit, self.started_at, self.engine, self.saver = emit, started_at, engine, saver
        self.watch, self.departing, self.clock = watch, departing, clock
        self.progress, self.curve = Progress(), Curve.fresh(config.optim.effective_batch_size)
        self.window: list[Step] = []
        clock.at("checkpoint")
        kept = checkpoint.load_newest(engine, workspace, self._say)
        if kept is not None:
            self.progress = Progress(**kept["progress"])
            self.curve = Curve.restore(kept["curve"])
            if "times" in kept:  # checkpoints from before lack it
                clock.add(from_plain(Times, kept["times"]))
        self.stepper = Stepper(config, prepared, engine, workspace, skip, watch, self._say)
        self.stepper.begin(self.progress)

    def _say(self, line: str) -> None:
        if distributed.get_rank() == 0:
            print(f"trial {self.trial}: {line}", flush=True)

    def train(self) -> Outcome:
        """Run to the end.

        Raises:
            InputError: A checkpoint cannot be written.
            _UnwantedError: `emit` said False.
        """
        progress, run = self.progress, self.config.run
        progress.start_overhead_s = time.time() - self.started_at
        self.window_began = time.perf_counter()
        while progress.tokens_seen < run.max_tokens:
            before = progress.tokens_seen
            self.clock.at("data")
            try:
                self.window.append(self.stepper.take(progress))
            except LossScaleExhaustedError:
                progress.train_s += time.perf_counter() - self.window_began
                scale, step = self.config.engine.min_loss_scale, progress.steps + 1
                told = f"the gradients of step {step:,} overflow at the smallest loss scale, {scale:g}"
                return self._outcome("overflowing", f"{told}, after {before:,} tokens")
            over = progress.tokens_seen // run.window_tokens > before // run.window_tokens
            if (over or self._eval_due()) and self._is_tellable():
                outcome = self._close_window()
                if outcome is not None:
                    return outcome
        assert progress.eval_nll is not None, "the last window evaluates"
        trained = f"trained {progress.tokens_seen:,} tokens in {progress.steps:,} steps"
        return self._outcome("finished", f"{trained}; eval NLL {progress.eval_nll:.4f}")

    def _is_tellable(self) -> bool:
        """Tell whether the window holds a step that was not discarded, or so many that nothing may follow."""
        discarded = sum(step.result.discarded for step in self.window)
        enough = discarded >= self.config.doom.nonfinite_steps
        return (
            discarded < len(self.window) or enough or self.progress.tokens_seen >= self.config.run.max_tokens
        )

    def _eval_due(self) -> bool:
        seen = self.progress.tokens_seen
        return self._marks_behind() > self.progress.evaluations or seen >= self.config.run.max_tokens

    def _marks_behind(self) -> int:
        return sum(mark <= self.progress.tokens_seen for mark in self.config.run.eval_at_tokens)

    def _close_window(self) -> Outcome | None:
        """Judge, evaluate if due, and report the window; return the outcome if it ends the trial."""
        self.watch(self.progress.steps, None)
        window = fetch_window(self.window, self.curve)
        self.window.clear()
        self.clock.settle()
        self.clock.at("other")
        seconds = time.perf_counter() - self.window_began
        self.progress.train_s += seconds
        if window.dead or not window.points:
            return self._lost("training")
        verdict: Verdict | None = from_rank_0(judge(self.curve, self.config.doom, self.config.run.max_tokens))
        evaluation = self._evaluate() if verdict is None and self._eval_due() else None
        if evaluation is not None and not math.isfinite(evaluation.nll + evaluation.stderr):
            return self._lost("held-out")
        if not self._tell(window, seconds, evaluation):
            raise _UnwantedError
        if verdict is not None:
            return self._outcome(verdict.status, verdict.reason)
        if self.progress.tokens_seen < self.config.run.max_tokens:
            must, departure = evaluation is not None, self.departing()
            self.clock.at("checkpoint")
            self.saver.at_border(must, self.progress.tokens_seen, self._state, departure)
        self.window_began = time.perf_counter()
        return None

    def _tell(self, window: Window, seconds: float, evaluation: Evaluation | None) -> bool:
        """Hand over the report of a window; tell whether the trial is still wanted, the same on all ranks."""
        self.clock.at("tracking")
        wanted = True
        if distributed.get_rank() == 0:
            summary, times = self.curve.summary(), self.clock.times()
            wanted = self.emit(self.progress.report(self.trial, window, summary, seconds, evaluation, times))
        wanted = bool(from_rank_0(wanted))
        self.clock.at("other")
        return wanted

    def _state(self) -> dict[str, Any]:
        return {
            "progress": dataclasses.asdict(self.progress),
            "curve": self.curve.state(),
            "times": dataclasses.asdict(self.clock.times()),
        }

    def _evaluate(self) -> Evaluation:
        self.clock.at("evaluate")
        micro = self.config.engine.max_tokens_per_micro_batch
        result = evaluate(self.engine.deepspeed, self.prepared.eval, micro, self.engine.device)
        self.progress.evaluations = self._marks_behind()
        self.progress.eval_nll, self.progress.eval_nll_stderr = result.nll, result.stderr
        self.clock.at("other")
        return result

    def _lost(self, which: str) -> Outcome:
        """Return the outcome of a trial whose numbers are no longer finite."""
        if 0 < self.progress.overflow_steps == self.progress.steps:
            told = f"all {self.progress.steps:,} steps overflowed and no loss was finite"
            return self._outcome("overflowing", told)
        self.progress.eval_nll = self.progress.eval_nll_stderr = None
        told = f"the {which} loss is not finite after {self.progress.tokens_seen:,} tokens"
        return self._outcome("diverged", f"{told} ({self.progress.steps:,} steps)")

    def _outcome(self, status: Status, reason: str) -> Outcome:
        return self.progress.outcome(self.trial, status, reason)
