"""How many slots the machines hold while a search runs: a cluster grows and shrinks."""

import logging
from collections.abc import Callable

from search.cluster import ray_cluster
from search.placement import HostMemory, place
from spaces.experiment import ResourcesConfig

Capacity = Callable[[int], int]
"""Told how many trials could run at the same time, answers how many slots there are for them now."""

logger = logging.getLogger(__name__)


def ask_nobody(slots: int) -> None:
    """Let a cluster without an autoscaler be as it is."""


def fixed(slots: int) -> Capacity:
    """Return the capacity of a machine that stays as it is."""
    return lambda wanted: slots


def following(
    resources: ResourcesConfig, memory: HostMemory | None, most: int, ask: Callable[[int], None]
) -> Capacity:
    """Return the capacity of the Ray cluster that is connected.

    Args:
        resources: What a slot takes.
        memory: What it takes of a node's memory; None is unknown.
        most: Slots that the search uses at most.
        ask: Told how many slots the autoscaler should make room for, whenever that changes.
    """
    asked, seen = 0, most

    def capacity(wanted: int) -> int:
        nonlocal asked, seen
        if min(wanted, most) != asked:
            asked = min(wanted, most)
            ask(asked)
        slots = min(most, place(resources, ray_cluster().nodes, memory).by_memory)
        if slots != seen:
            seen = slots
            waits = "" if slots else "; trials wait for machines"
            logger.warning("the cluster holds %d of at most %d slots now%s", slots, most, waits)
        return slots

    return capacity
