"""Where slots fit on the machines."""

import math
from dataclasses import dataclass

from search.cluster import Cluster, Node
from spaces.experiment import ResourcesConfig

SLOT_CPUS = 0.01
"""Logical CPUs of the actor that leads a slot, besides its ranks."""
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class HostMemory:
    """What trials take of a node's own memory, in GiB."""

    per_rank_gib: float
    per_node_gib: float
    """Once on each node: the base weights that all its ranks share."""


@dataclass(frozen=True)
class Placement:
    """How many slots fit; a slot never spans two nodes."""

    by_devices: int
    """By CPUs and GPUs alone."""
    by_memory: int
    """By the nodes' memory as well."""
    kept_out: int = 0
    """Slots that would fit if the actors that lead slots took no CPU."""


def place(resources: ResourcesConfig, cluster: Cluster, memory: HostMemory | None) -> Placement:
    """Count the slots that fit.

    Args:
        resources: What a slot takes.
        cluster: The machines. On a Ray of our own the slots' actors have a CPU of their own.
        memory: None when the model's sizes are unknown: then memory limits nothing.
    """
    ranks = resources.ranks_per_slot
    devices = [ranks_on(node, resources) // ranks for node in cluster.nodes]
    both = devices
    if memory is not None:
        both = [
            min(n, _by_memory(node, ranks, memory)) for node, n in zip(cluster.nodes, devices, strict=True)
        ]
    if cluster.local:
        return Placement(sum(devices), sum(both))
    per_slot = ranks * resources.cpus_per_rank + SLOT_CPUS
    actors = math.floor(sum(node.cpus for node in cluster.nodes) / per_slot + _TOLERANCE)
    return Placement(min(sum(devices), actors), min(sum(both), actors), max(0, sum(both) - actors))


def ranks_on(node: Node, resources: ResourcesConfig) -> int:
    """Return how many ranks fit a node by its CPUs and GPUs; ranks may share a GPU, never split over two."""
    ranks = math.floor(node.cpus / resources.cpus_per_rank + _TOLERANCE)
    share = resources.gpus_per_rank
    if share >= 1:
        return min(ranks, math.floor(node.gpus / share + _TOLERANCE))
    if share > 0:
        return min(ranks, math.floor(node.gpus) * math.floor(1 / share + _TOLERANCE))
    return ranks


def _by_memory(node: Node, ranks: int, memory: HostMemory) -> int:
    return max(0, math.floor((node.memory_gib - memory.per_node_gib) / (ranks * memory.per_rank_gib)))
