"""A trial that is stalled far above its peers at equal tokens: the doom rule that needs other trials.

A run may go wrong without a spike: one recorded language model stays between 3.2 and 3.6 where its peers pass
2. Nothing in its own curve says so. The halving catches it at the next rung; this rule catches it between
rungs, and where a bracket or the noise band let it pass. It compares losses over equal tokens: a smoothed
loss forgets by steps, so that of a large batch still remembers the beginning.
"""

import json
from bisect import insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spaces.experiment import ParamValue
from train_fn.doom import Verdict, say_tokens
from train_fn.report import Report
from train_fn.trend import MIN_POINTS

QUARTILE_SIGMA = 0.6745
"""Median to lower quartile, in standard deviations of a normal distribution."""
_DECIDE = ("optim.objective", "data.weights")
"""Fields that decide what a training loss is of."""


@dataclass(frozen=True)
class StallRule:
    """Parameters of the rule."""

    enabled: bool = True
    spreads: float = 1.5
    """Far above is so many spreads above the median of the peers. A spread is one standard deviation of the
    better half, from its quartile: bad peers must not widen it. A sweep of learning rates is wide, so few of
    them are far: the recorded run that stalls is ended after 24% of its tokens with 1.5, after 60% with 3."""
    rise: float = 0.5
    """... and this fraction above the median: nothing that comes within reach of its peers is that far."""
    patience: float = 0.1
    """Share of `run.max_tokens` for which it has stayed there without a falling trend."""
    peers: int = 6
    """Trials that must have come as far; of fewer a quartile says nothing."""


def far_above(level: float, peers: list[float], rule: StallRule) -> float | None:
    """Return the level above which a trial is far above its peers if `level` is, else None.

    Args:
        level: Loss of the trial over a window, in nats.
        peers: That of the others at equal tokens, sorted.
        rule: What far means.
    """
    if len(peers) < rule.peers:
        return None
    median, quartile = peers[len(peers) // 2], peers[len(peers) // 4]
    spread = (median - quartile) / QUARTILE_SIGMA
    limit = median + max(rule.spreads * spread, rule.rise * abs(median))
    return limit if level > limit else None


class Peers:
    """The losses of all trials at equal tokens, and who is far above for how long."""

    def __init__(self, rule: StallRule, max_tokens: int, window_tokens: int) -> None:
        self._rule, self._max_tokens, self._window_tokens = rule, max_tokens, window_tokens
        self._levels: dict[tuple[str, int], list[float]] = {}
        """By what the loss is of and window, sorted."""
        self._seen: dict[int, int] = {}
        """By trial, its last window; a repeated report is no news."""
        self._since: dict[int, int] = {}
        """By trial, the tokens from which on it has been far above."""

    def restore(self, reports: Iterable[tuple[Report, Mapping[str, ParamValue]]]) -> None:
        """Take up past reports, each with the values of its trial, in their order."""
        for report, params in reports:
            self.judge(report, params)

    def judge(self, report: Report, params: Mapping[str, ParamValue]) -> Verdict | None:
        """Take a report in; return why its trial cannot be saved, None while it can.

        The cost is a search and an insertion in a sorted list.

        Args:
            report: Of a window.
            params: The values of its trial: losses of another objective or mixture of data are no peers.
        """
        window = report.tokens_seen // self._window_tokens
        if not self._rule.enabled or not report.points or window <= self._seen.get(report.trial, -1):
            return None
        self._seen[report.trial] = window
        kind = json.dumps([params.get(path) for path in _DECIDE])
        level, peers = report.loss, self._levels.setdefault((kind, window), [])
        limit, others = far_above(level, peers, self._rule), len(peers)
        median = peers[others // 2] if peers else level
        insort(peers, level)
        falls = report.trend.startswith("falling") or report.steps < 2 * MIN_POINTS  # too few to say
        if limit is None or falls:
            self._since.pop(report.trial, None)
            return None
        since = self._since.setdefault(report.trial, report.tokens_seen)
        if report.tokens_seen - since < self._rule.patience * self._max_tokens:
            return None
        told = f"loss {level:.2f} is stalled above {limit:.2f}"
        told += f", where {others} other trials have a median of {median:.2f} at equal tokens"
        reason = f"stopped at {say_tokens(report.tokens_seen)} tokens: {told}"
        return Verdict("diverged", reason)
