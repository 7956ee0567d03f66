"""Real faults: signals to the processes of a running search, found by what Ray calls them."""

import os
import random
import signal
from collections.abc import Callable, Collection, Mapping

import psutil

RANK = ("RayTrainWorker", "LoneRank")
"""Parts of what a training process calls itself: one of several ranks, or the only one."""
SIGNALS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "rank": (RANK, signal.SIGKILL),
    "hang": (RANK, signal.SIGSTOP),
    "slot": (("ray::ResourceTrainable",), signal.SIGKILL),
    "controller": (("TrainController",), signal.SIGKILL),
    "ray": (("raylet",), signal.SIGKILL),
}
"""Fault -> parts of the process's name, and what it is sent."""
ENDS_THE_COMMAND = ("driver", "ray")
WEIGHTS: Mapping[str, float] = {
    "rank": 6, "hang": 1, "slot": 2, "controller": 2, "driver": 1, "ray": 0.5, "tracking": 3,
}  # fmt: skip


def plan(seed: int) -> Callable[[], str]:
    """Return a function that names the next fault; the same seed gives the same plan."""
    dice = random.Random(seed)
    return lambda: dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]


def inject(kind: str, command: psutil.Process, dice: random.Random) -> bool:
    """Send a fault's signal; tell whether there was a process to send it to.

    Args:
        kind: One of `SIGNALS`, or `driver`.
        command: The search's own process, the root of all its others.
        dice: Chooses among several processes.
    """
    if kind == "driver":
        os.kill(command.pid, signal.SIGKILL)
        return True
    names, number = SIGNALS[kind]
    victims = named(command, names)
    if not victims:
        return False
    os.kill(dice.choice(victims).pid, number)
    return True


def ranks(command: psutil.Process) -> list[psutil.Process]:
    """List the training processes of a search."""
    return named(command, RANK)


def named(command: psutil.Process, names: Collection[str]) -> list[psutil.Process]:
    """List the processes below one that call themselves any of these."""
    return [process for process in below(command) if any(name in title(process) for name in names)]


def below(command: psutil.Process) -> list[psutil.Process]:
    """List the processes below one, in the order of their numbers."""
    try:
        return sorted(command.children(recursive=True), key=lambda process: process.pid)
    except psutil.NoSuchProcess:
        return []


def title(process: psutil.Process) -> str:
    """Return what a process calls itself."""
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""
