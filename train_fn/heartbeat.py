"""Signs of life of a training process, for whoever watches it from outside.

Training writes where it stands into a `Pulse`, which costs an assignment; a thread sends that on every
second. A process that is stopped, or whose interpreter is stuck in a call that never gives it back, sends
nothing; one that waits for a collective that will not come sends the same step again and again.
"""

import faulthandler
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from train_fn.repeated import repeated

BEAT_S = 1.0
DUMP_SIGNAL = signal.SIGUSR1
"""Makes a process with a heartbeat write the stacks of all its threads."""


@dataclass(frozen=True)
class Beat:
    """Where one rank stands."""

    rank: int
    pid: int
    node: str
    """Ray's id of the machine that the process runs on."""
    stacks_file: int
    """Descriptor, in that process, of the file that `DUMP_SIGNAL` writes to."""
    steps: int
    """Optimizer steps of the trial that are behind."""
    place: int | None
    """Place in the order of examples at which the step under way began; None outside of a step (loading,
    evaluation, checkpoints, waiting), where being alive is all there is to show."""


class Pulse:
    """Where this process stands now; written by the training thread, read by any other."""

    def __init__(self) -> None:
        self.now: tuple[int, int | None] = (0, None)

    def at(self, steps: int, place: int | None) -> None:
        """Say that so many steps are behind, and where the step that begins takes its examples."""
        self.now = (steps, place)


@contextmanager
def beating(pulse: Pulse, rank: int, node: str, send: Callable[[Beat], None]) -> Iterator[None]:
    """Send a beat every `BEAT_S` within the block, and write stacks when `DUMP_SIGNAL` asks for them.

    The first is sent before the block begins: a process nobody has heard of would not be missed.

    The stacks are written in C by the signal handler itself, so a thread that holds the interpreter for ever
    does not hinder them. The file has no name: nothing is left behind by a process that is killed, and who
    may read `/proc/<pid>/fd/<descriptor>` can read it.
    """
    with tempfile.TemporaryFile() as stacks:

        def beat() -> None:
            send(Beat(rank, os.getpid(), node, stacks.fileno(), *pulse.now))

        faulthandler.register(DUMP_SIGNAL, file=stacks, all_threads=True)
        try:
            beat()
            with repeated(lambda _: beat(), BEAT_S, "heartbeat"):
                yield
        finally:
            faulthandler.unregister(DUMP_SIGNAL)
