"""How often a running trial writes a checkpoint.

Too often costs time at each one, too seldom costs the work since the last one at each failure. Their sum is
smallest, to first order, when checkpoints lie sqrt(2 * cost * MTBF) apart (Young 1974, "A first order
approximation to the optimum checkpoint interval", CACM 17(9); Daly 2006, doi:10.1016/j.future.2004.11.016,
equation 13 without its correction of order `cost`). The cost is the time for which training stands still:
files are written while it goes on.
"""

import math


def interval_s(stall_s: float | None, write_s: float, mtbf_s: float, max_lost_s: float) -> float:
    """Return the longest time between two checkpoints.

    Work is safe when the files are written, so the bound on lost work holds for the interval and the writing
    together. Where writing alone takes longer than the bound, the interval is 0: one follows the other.

    Args:
        stall_s: For how long the last checkpoint stopped the training; None before the first one, when the
            bound alone counts.
        write_s: For how long the last one was being written after that.
        mtbf_s: Mean time between failures of the trial's processes.
        max_lost_s: Bound on the work that a failure may cost.
    """
    bound = max(0.0, max_lost_s - write_s)
    if stall_s is None:
        return bound
    return min(bound, math.sqrt(2 * stall_s * mtbf_s))


def is_due(since_last_s: float, window_s: float, interval: float) -> bool:
    """Tell whether a checkpoint is due at this window border: at the next one it would come too late.

    Args:
        since_last_s: Since the last checkpoint, or since the trial was started.
        window_s: How long the last window took, evaluation included; the next one should take as long.
        interval: See `interval_s`.
    """
    return since_last_s + window_s > interval
