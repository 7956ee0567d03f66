"""How many slots the machines hold while a search runs: a cluster grows and shrinks."""

import logging
from collections.abc import Callable

from search.cluster import ray_cluster
from search.placement import HostMemory, place
from spaces.experiment import ResourcesConfig
from spaces.words import count_text

Capacity = Callable[[int], int]
"""Told how many trials could run at the same time, answers how many slots there are for them now."""

logger = logging.getLogger(__name__)


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
    asked = 0
    seen: int | None = None

    def capacity(wanted: int) -> int:
        nonlocal asked, seen
        if min(wanted, most) != asked:
            asked = min(wanted, most)
            ask(asked)
        slots = min(most, place(resources, ray_cluster().nodes, memory).by_memory)
        if seen is not None and slots != seen:
            waits = "" if slots else ": trials wait for machines"
            logger.warning("the cluster holds %s now%s", count_text(slots, "slot"), waits)
        seen = slots
        return slots

    return capacity
