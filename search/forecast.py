"""What every trial of a search would end with, so that a stopped one and a finished one compare.

A sampler needs one figure per trial. Optuna's TPE takes any finished trial for better than any stopped one,
and one that still runs for a bad one; its Gaussian process reads finished trials alone. With halving most
trials are stopped and the promising ones run for long, so neither learns much. Here each trial is given the
NLL that it would have at the end: what it said, and what those that went on have gained from there.
"""

from collections.abc import Mapping
from itertools import pairwise
from statistics import fmean, median

LAST = 3
"""Evaluations behind a forecast: one alone is noisy, and early ones say little of the end."""


def forecasts(curves: Mapping[int, Mapping[int, float]]) -> dict[int, float]:
    """Return by trial the NLL that it would have where the longest one is.

    From one rung to the next it is expected to change by the median change of the trials that were evaluated
    at both; by nothing while there are none. The answer is the mean of what the last evaluations foretell.

    Args:
        curves: By trial, eval NLL by rung, in nats. A trial without any is left out of the answer.
    """
    rungs = sorted({rung for curve in curves.values() for rung in curve})
    to_come = dict.fromkeys(rungs, 0.0)
    for here, there in reversed(list(pairwise(rungs))):
        changes = [
            curve[there] - curve[here] for curve in curves.values() if here in curve and there in curve
        ]
        to_come[here] = to_come[there] + (median(changes) if changes else 0.0)
    return {
        trial: fmean(curve[rung] + to_come[rung] for rung in sorted(curve)[-LAST:])
        for trial, curve in curves.items()
        if curve
    }
