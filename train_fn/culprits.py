"""Which examples make the loss or the gradient of a step non-finite, each by itself: found by bisection.

One row of a weight matrix that is not a number spoils the gradient of whatever example uses it, and the sum
over the step with it. Halves of a suspected group are tried until single examples are left: for one culprit
among n examples that are 2 log2(n) tries of n / 2, n / 4, ... examples, the work of two steps.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

MAX_SUSPECTS = 2
"""More groups than this under suspicion at once: it is the weights, or the data as a whole."""


def find_culprits(chosen: NDArray[np.int64], is_finite: Callable[[NDArray[np.int64]], bool]) -> list[int]:
    """Return the numbers of the examples that alone give a non-finite loss or gradient.

    Args:
        chosen: Numbers of the examples of a step that is not finite, shape [n].
        is_finite: Tries some of them; asked the same on all ranks and answers the same.

    Returns:
        Rising numbers; none when no one and no two examples are to blame: all of them are, or only their sum.
    """
    found: set[int] = set()
    groups = [chosen] if len(chosen) > 1 else []  # one example alone cannot be told from broken weights
    while groups:
        halves = [half for group in groups for half in np.array_split(group, 2)]
        broken = [half for half in halves if not is_finite(half)]
        found |= {int(half[0]) for half in broken if len(half) == 1}
        groups = [half for half in broken if len(half) > 1]
        if len(found) + len(groups) > MAX_SUSPECTS:
            return []
    return sorted(found) if len(found) < len(set(chosen.tolist())) else []
