"""Asynchronous successive halving on tokens seen (Li et al. 2020, arXiv:1810.05934), stop-type.

A trial that arrives at a rung goes on if it is among the best 1 in eta of all that have arrived there so far,
rounded up: with an eta of 2 the first of one, the first of two, two of three. Nothing is paused and nobody
waits, as in Ray's and Syne Tune's ASHA. Four things differ: the rungs stand closer together than 1 in eta
would have them, so a trial is judged often and each time mildly; at each rung it is judged again at those
behind it, where more have arrived since; trials are compared in pairs, on the same held-out examples, so the
noise of a comparison is known; and a trial that is behind by no more than that noise, also behind the best of
the rung, stays, within a budget of such extra survivors. A good sampler proposes many that are as good as the
best, and without the band all but 1 in eta of them would end at every rung, by luck. A trial that is lost
later measures nobody: at the edge of what a model can take, a learning rate is ahead until it diverges.
"""

import math
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from spaces.experiment import Experiment, HalvingConfig
from spaces.paths import replace_all
from train_fn.paired import paired_difference
from train_fn.report import DOOMED, Evaluation

LOST = (*DOOMED, "failed")
"""How a trial ends that never could have been the best."""


@dataclass(frozen=True)
class Decision:
    """One verdict at a rung, with the numbers behind it."""

    trial: int
    bracket: int
    rung: int
    rung_tokens: int
    tokens_seen: int
    value: float
    """Eval NLL of the trial at this rung."""
    cutoff: float | None
    """Eval NLL a trial must reach to go on; None while too few have arrived."""
    paired_difference: float | None
    """Mean per-token difference to the trial at the cutoff on the same examples."""
    standard_error: float | None
    peers: int
    """Trials that had arrived at this rung and were not lost since, this one included."""
    keep: bool
    reason: str
    judged_rung: int | None = None
    """The earlier rung that cutoff, difference, error and peers are of, when the trial would have lost there,
    had all who came since come before it; None when they are of `rung`."""


@dataclass
class _Rung:
    """Who has arrived, and who stayed only because the noise might have hidden its worth."""

    arrivals: dict[int, Evaluation] = field(default_factory=dict)
    order: list[tuple[float, int, int]] = field(default_factory=list)
    """NLL, place of arrival and trial of each, best first."""
    extra: set[int] = field(default_factory=set)
    places: int = 0
    """Of all who ever arrived."""


def rung_tokens(config: HalvingConfig, max_tokens: int) -> tuple[int, ...]:
    """Return the tokens of each rung: first_rung * spacing^k, while stopping there still saves something.

    The last rung lies at most at max_tokens / sqrt(spacing): half-way, on the scale of the rungs, between the
    end and the rung before it. A later one would save less than (1 - 1 / sqrt(spacing)) of a trial.
    """
    rungs: list[int] = []
    tokens = float(config.first_rung_tokens)
    while round(tokens) * math.sqrt(config.spacing) <= max_tokens:
        rungs.append(round(tokens))
        tokens *= config.spacing
    return tuple(rungs)


def with_rungs(experiment: Experiment) -> Experiment:
    """Return the experiment with evaluations of every trial at the rungs of the halving."""
    rungs = rung_tokens(experiment.halving, experiment.base.run.max_tokens)
    marks = tuple(sorted({*experiment.base.run.eval_at_tokens, *rungs}))
    return replace_all(experiment, {"base.run.eval_at_tokens": marks})


class Halving:
    """The rungs of a search: decides, and remembers who was there."""

    def __init__(self, config: HalvingConfig, max_tokens: int) -> None:
        self.config = config
        self.rungs = rung_tokens(config, max_tokens)
        self._brackets = max(1, min(config.brackets, len(self.rungs)))
        self._arrived: dict[tuple[int, int], _Rung] = {}
        self._stopped: set[int] = set()

    def bracket_of(self, trial: int) -> int:
        """Return the bracket of a trial, by its number alone.

        Bracket b has its first rung at rung b. As in Hyperband (Li et al. 2018, arXiv:1603.06560) every
        bracket gets about the same budget: its trials cost `spacing**b` times as much before they are judged,
        so of the trials in turn `spacing**(B-1-b)`, rounded, are in b.
        """
        shares = [round(self.config.spacing ** (self._brackets - 1 - b)) for b in range(self._brackets)]
        place = trial % sum(shares)
        for bracket, share in enumerate(shares):
            if place < share:
                return bracket
            place -= share
        raise AssertionError(place)

    def decide(self, trial: int, tokens_seen: int, evaluation: Evaluation) -> Decision | None:
        """Judge a trial at the highest rung its tokens reach, once.

        Returns:
            None when this evaluation reaches no rung of its bracket at which the trial was not judged before.
        """
        assert math.isfinite(evaluation.nll), f"trial {trial}: a report lets no {evaluation.nll} pass"
        reached = sum(tokens <= tokens_seen for tokens in self.rungs) - 1
        bracket = self.bracket_of(trial)
        if reached < bracket:
            return None
        rung = self._arrived.setdefault((bracket, reached), _Rung())
        if trial in rung.arrivals or trial in self._stopped:
            return None
        decision = self._judge(trial, bracket, reached, tokens_seen, evaluation, rung)
        if decision.keep:
            decision = self._with_hindsight(decision)
        self._record(decision, evaluation)
        return decision

    def stopped(self, trial: int) -> bool:
        """Return whether the trial was told to stop at some rung."""
        return trial in self._stopped

    def restore(self, decisions: Iterable[tuple[Decision, Evaluation]], statuses: Mapping[int, str]) -> None:
        """Take up past decisions in their order: the state is then the same as after making them live.

        Args:
            decisions: Each with the evaluation it judged.
            statuses: Of the trials by now; when they ended makes no difference.
        """
        for decision, evaluation in decisions:
            self._record(decision, evaluation)
        for trial, status in statuses.items():
            self.ended(trial, status)

    def ended(self, trial: int, status: str) -> None:
        """Take a trial that is lost out of the rungs that it had reached, so that it is no bar for others."""
        if status not in LOST:
            return
        for rung in self._arrived.values():
            if rung.arrivals.pop(trial, None) is not None:
                rung.order = [one for one in rung.order if one[2] != trial]
                rung.extra.discard(trial)

    def _record(self, decision: Decision, evaluation: Evaluation) -> None:
        if decision.judged_rung is not None:  # it should not have come this far: here it measures nobody
            self._stopped.add(decision.trial)
            return
        rung = self._arrived.setdefault((decision.bracket, decision.rung), _Rung())
        if decision.trial not in rung.arrivals:
            insort(rung.order, (evaluation.nll, rung.places, decision.trial))
            rung.places += 1
        rung.arrivals[decision.trial] = evaluation
        if decision.keep and decision.cutoff is not None and decision.value > decision.cutoff:
            rung.extra.add(decision.trial)
        if not decision.keep:
            self._stopped.add(decision.trial)

    def _judge(
        self, trial: int, bracket: int, rung: int, tokens_seen: int, evaluation: Evaluation, at: _Rung
    ) -> Decision:
        peers = len(at.arrivals) + 1
        cutoff = difference = error = None
        keep, told = True, "the first to arrive goes on"
        if at.arrivals:
            cutoff, difference, error = self._behind(evaluation, at, peers)
            keep, told = self._verdict(evaluation, at, cutoff, difference, error)
        return Decision(
            trial=trial,
            bracket=bracket,
            rung=rung,
            rung_tokens=self.rungs[rung],
            tokens_seen=tokens_seen,
            value=evaluation.nll,
            cutoff=cutoff,
            paired_difference=difference,
            standard_error=error,
            peers=peers,
            keep=keep,
            reason=f"{'kept' if keep else 'stopped'} at {self._where(rung)}, arrival {peers}: {told}",
        )

    def _with_hindsight(self, decision: Decision) -> Decision:
        """Stop a trial that a rung behind it, with all who have arrived there since, would not let pass.

        The first to arrive at a rung go on for lack of peers, whatever they are worth. A trial within the
        noise of the cutoff as it is now keeps the verdict of its time. The best of the rung that it comes
        from is spared, so of all who pass a rung somebody passes the next, and somebody comes to the end.
        """
        rungs = [(rung, self._arrived.get((decision.bracket, rung))) for rung in range(decision.rung)]
        passed = [(rung, at) for rung, at in rungs if at is not None and decision.trial in at.arrivals]
        if passed and passed[-1][1].order[0][2] == decision.trial:
            return decision
        for earlier, at in passed:
            mine, peers = at.arrivals[decision.trial], len(at.arrivals)
            if mine.nll <= self._last_in(at, peers).nll:  # cheaper than to pair the examples
                continue
            cutoff, difference, error = self._behind(mine, at, peers)
            band, named = self._band(error)
            if difference <= band:
                continue
            told = f"of {peers} arrivals at rung {earlier} by now, its eval NLL {mine.nll:.4f} there misses"
            behind = f"the cutoff {cutoff:.4f} by {difference:.4f}, more than {named}"
            return replace(
                decision,
                cutoff=cutoff,
                paired_difference=difference,
                standard_error=error,
                peers=peers,
                keep=False,
                reason=f"stopped at {self._where(decision.rung)}: {told} {behind}",
                judged_rung=earlier,
            )
        return decision

    def _where(self, rung: int) -> str:
        return f"rung {rung} ({self.rungs[rung]:,} tokens)"

    def _behind(self, evaluation: Evaluation, at: _Rung, peers: int) -> tuple[float, float, float]:
        """Return the cutoff of a rung, the difference of an evaluation to it, and its standard error."""
        last_in = self._last_in(at, peers)
        return last_in.nll, *paired_difference(evaluation, last_in)

    def _last_in(self, at: _Rung, peers: int) -> Evaluation:
        """Return the evaluation at the cutoff: the last that is among the best 1 in eta, rounded up."""
        return at.arrivals[at.order[math.ceil(peers / self.config.eta) - 1][2]]

    def _band(self, error: float) -> tuple[float, str]:
        """Return by how much a trial may be behind and stay, and what that is in words."""
        factor = self.config.noise_band
        return factor * error, f"{factor:g} standard error{'' if factor == 1 else 's'} ({factor * error:.4f})"

    def _verdict(
        self, mine: Evaluation, at: _Rung, cutoff: float, difference: float, error: float
    ) -> tuple[bool, str]:
        if mine.nll <= cutoff:
            return True, f"eval NLL {mine.nll:.4f} reaches the cutoff {cutoff:.4f}"
        behind = f"eval NLL {mine.nll:.4f} misses the cutoff {cutoff:.4f} by {difference:.4f}"
        band, named = self._band(error)
        if difference > band:
            return False, f"{behind}, more than {named}"
        behind += f", within {named}"
        best = at.arrivals[at.order[0][2]]
        if best.nll < cutoff:
            difference, error = paired_difference(mine, best)
            band, named = self._band(error)
            if difference > band:
                return False, f"{behind}, but the best {best.nll:.4f} by {difference:.4f}, more than {named}"
            behind += f", and the best {best.nll:.4f} by {difference:.4f}, within {named}"
        peers, budget = len(at.arrivals) + 1, self.config.extra_survivors
        if len(at.extra) + 1 > math.ceil(budget * peers):
            most = f"of {peers} arrivals at most {budget:.0%} may stay for that"
            return False, f"{behind}; but {most} and {len(at.extra)} did"
        return True, behind
