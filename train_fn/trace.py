"""A trace of a few optimizer steps, for a look at what exactly they do, by torch's profiler.

The file is in Chrome's trace format; `chrome://tracing` and https://ui.perfetto.dev open it. It holds every
operator with its duration, the kernels on a GPU, the optimizer's own span, and one span `ProfilerStep#n` for
each step. Operators alone are recorded, without shapes and stacks, so that a step stays at some megabytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from train_fn.stepping import Watch

SETTLING_STEPS = 2
"""Steps before the traced ones: the first allocates, the second warms the profiler itself up."""


def steps_needed(steps: int) -> int:
    """Return how many optimizer steps a trial must take for a trace of `steps` of them to be whole."""
    return SETTLING_STEPS + steps


@contextmanager
def traced(file: Path, steps: int) -> Iterator[Watch]:
    """Trace a trial that runs within the block and is given the watch that this yields.

    Args:
        file: Written when the next step begins or the block ends; a trial of fewer than `steps_needed` steps
            leaves none. Its folder is made.
        steps: Optimizer steps to trace, at least 1.
    """
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)

    def keep(recorded: Any) -> None:
        if recorded.step_num >= steps_needed(steps):  # the block may end within the traced steps
            file.parent.mkdir(parents=True, exist_ok=True)
            recorded.export_chrome_trace(str(file))

    # The profiler counts what comes before the first step, loading for instance, as a step of its own.
    phases = schedule(wait=SETTLING_STEPS, warmup=1, active=steps, repeat=1)
    with profile(activities=activities, schedule=phases, on_trace_ready=keep) as profiler:

        def watch(behind: int, place: int | None) -> None:
            if place is not None:
                profiler.step()

        yield watch
