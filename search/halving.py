"""Asynchronous successive halving on tokens seen (Li et al. 2020, arXiv:1810.05934), stop-type.

A trial that arrives at a rung goes on if it is among the best 1 in eta of all that have arrived there so far;
the first to arrive goes on always, for lack of a peer. Nothing is paused and nobody waits, as in Ray's and
Syne Tune's ASHA. Two things differ: trials are compared in pairs, on the same held-out examples, so the noise
of a comparison is known; and a trial that is behind by no more than that noise stays, within a budget of such
extra survivors.
"""

import math
from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass, field

from spaces.experiment import HalvingConfig
from train_fn.paired import paired_difference
from train_fn.report import Evaluation


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
    """Trials that had arrived at this rung, this one included."""
    keep: bool
    reason: str


@dataclass
class _Rung:
    """Who has arrived, and who stayed only because the noise might have hidden its worth."""

    arrivals: dict[int, Evaluation] = field(default_factory=dict)
    order: list[tuple[float, int, int]] = field(default_factory=list)
    """NLL, place of arrival and trial of each, best first."""
    extra: int = 0


def rung_tokens(config: HalvingConfig, max_tokens: int) -> tuple[int, ...]:
    """Return the tokens of each rung: first_rung * eta^k, while stopping there still saves something.

    The last rung lies at most at max_tokens / sqrt(eta): half-way, on the scale of the rungs, between the end
    and the rung before it. A later one would save less than (1 - 1 / sqrt(eta)) of a trial.
    """
    rungs: list[int] = []
    tokens = config.first_rung_tokens
    while tokens * math.sqrt(config.eta) <= max_tokens:
        rungs.append(tokens)
        tokens *= config.eta
    return tuple(rungs)


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
        bracket gets about the same budget: of `eta**(B-1) + ... + eta + 1` trials in turn, `eta**(B-1-b)` are
        in b.
        """
        shares = [self.config.eta ** (self._brackets - 1 - b) for b in range(self._brackets)]
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
        if trial in rung.arrivals:
            return None
        decision = self._judge(trial, bracket, reached, tokens_seen, evaluation, rung)
        self._record(decision, evaluation)
        return decision

    def stopped(self, trial: int) -> bool:
        """Return whether the trial was told to stop at some rung."""
        return trial in self._stopped

    def restore(self, decisions: Iterable[tuple[Decision, Evaluation]]) -> None:
        """Take up past decisions in their order: the state is then the same as after making them live."""
        for decision, evaluation in decisions:
            self._record(decision, evaluation)

    def _record(self, decision: Decision, evaluation: Evaluation) -> None:
        rung = self._arrived.setdefault((decision.bracket, decision.rung), _Rung())
        if decision.trial not in rung.arrivals:
            insort(rung.order, (evaluation.nll, len(rung.order), decision.trial))
        rung.arrivals[decision.trial] = evaluation
        rung.extra += decision.keep and decision.cutoff is not None and decision.value > decision.cutoff
        if not decision.keep:
            self._stopped.add(decision.trial)

    def _judge(
        self, trial: int, bracket: int, rung: int, tokens_seen: int, evaluation: Evaluation, at: _Rung
    ) -> Decision:
        peers = len(at.arrivals) + 1
        cutoff = difference = error = None
        keep, told = True, "the first to arrive goes on"
        if at.arrivals:
            places = max(1, peers // self.config.eta)
            last_in = at.arrivals[at.order[places - 1][2]]
            cutoff = last_in.nll
            difference, error = paired_difference(evaluation, last_in)
            keep, told = self._verdict(evaluation.nll, cutoff, difference, error, peers, at.extra)
        where = f"rung {rung} ({self.rungs[rung]:,} tokens)"
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
            reason=f"{'kept' if keep else 'stopped'} at {where}, arrival {peers}: {told}",
        )

    def _verdict(
        self, value: float, cutoff: float, difference: float, error: float, peers: int, extra: int
    ) -> tuple[bool, str]:
        if value <= cutoff:
            return True, f"eval NLL {value:.4f} reaches the cutoff {cutoff:.4f}"
        behind = f"eval NLL {value:.4f} misses the cutoff {cutoff:.4f} by {difference:.4f}"
        band = self.config.noise_band * error
        if difference > band:
            return False, f"{behind}, more than its noise ({band:.4f})"
        if extra + 1 > self.config.extra_survivors * peers:
            most = f"of {peers} arrivals at most {self.config.extra_survivors:.0%} may stay for that"
            return False, f"{behind}, within its noise ({band:.4f}), but {most} and {extra} did"
        return True, f"{behind}, within its noise ({band:.4f})"
