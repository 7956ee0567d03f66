"""Where a trial stands, and what is said of it: a window's report, and the outcome."""

from dataclasses import dataclass, field

from train_fn.curve import CurveSummary
from train_fn.report import Evaluation, Outcome, Report, Status
from train_fn.times import Times
from train_fn.window import Window


@dataclass
class Progress:
    """Where a trial stands; kept in its checkpoints."""

    tokens_seen: int = 0
    steps: int = 0
    examples_taken: int = 0
    overflow_steps: int = 0
    culprits: list[tuple[int, int]] = field(default_factory=list)
    """Examples that are left out because they alone make a gradient non-finite, each with the place in the
    order of examples at which the step began that it spoiled. Checkpoints from before lack it."""
    left_out: list[int] = field(default_factory=list)
    """Places in the order of examples at which a step would begin that is left out, as training failed in it
    twice. Checkpoints from before lack it."""
    evaluations: int = 0
    """Marks of `run.eval_at_tokens` that are behind."""
    train_s: float = 0.0
    start_overhead_s: float = 0.0
    eval_nll: float | None = None
    eval_nll_stderr: float | None = None

    def report(
        self,
        trial: int,
        window: Window,
        curve: CurveSummary,
        seconds: float,
        evaluation: Evaluation | None,
        times: Times,
    ) -> Report:
        """Compose the report of the window that ends here.

        Args:
            trial: Its number.
            window: The figures of its steps.
            curve: The whole curve so far.
            seconds: What the window took.
            evaluation: At its end, if one was due.
            times: Of the trial so far.
        """
        return Report(
            trial=trial,
            tokens_seen=self.tokens_seen,
            steps=self.steps,
            window_steps=window.steps,
            loss=window.mean_loss,
            points=window.points,
            lr=window.lr,
            grad_norm=window.grad_norm,
            loss_scale=window.loss_scale,
            overflow_steps=self.overflow_steps,
            window_overflow_rate=window.overflow_rate,
            spikes=curve.spikes,
            trend=curve.trend,
            tokens_per_s=window.tokens / seconds,
            train_s=self.train_s,
            start_overhead_s=self.start_overhead_s,
            eval=evaluation,
            nonfinite_examples=len(self.culprits),
            times=times,
        )

    def outcome(self, trial: int, status: Status, reason: str) -> Outcome:
        """Compose the outcome of a trial that ends here."""
        return Outcome(
            trial=trial,
            status=status,
            reason=reason,
            tokens_seen=self.tokens_seen,
            steps=self.steps,
            overflow_steps=self.overflow_steps,
            eval_nll=self.eval_nll,
            eval_nll_stderr=self.eval_nll_stderr,
            train_s=self.train_s,
            start_overhead_s=self.start_overhead_s,
            checkpoint=None,
        )
