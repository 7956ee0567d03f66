"""Where slots fit on the machines."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from search.cluster import Cluster, Node
from spaces.experiment import ResourcesConfig

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class HostMemory:
    """What trials take of a node's own memory, in GiB."""

    per_rank_gib: float
    per_node_gib: float
    """Once on each node: the base weights that all its ranks share."""


@dataclass(frozen=True)
class Placement:
    """How many slots fit. What leads a slot besides its ranks takes neither CPUs nor GPUs."""

    by_devices: int
    """By CPUs and GPUs alone."""
    by_memory: int
    """By the nodes' memory as well."""


def place(resources: ResourcesConfig, nodes: Iterable[Node], memory: HostMemory | None) -> Placement:
    """Count the slots that fit.

    Args:
        resources: What a slot takes.
        nodes: The machines.
        memory: None when the model's sizes are unknown: then memory limits nothing.
    """
    devices, both = [], []
    for node in nodes:
        devices.append(ranks_on(node, resources))
        both.append(_fitting(node, resources, memory))
    return Placement(_slots(devices, resources), _slots(both, resources))


def place_at_most(resources: ResourcesConfig, cluster: Cluster, memory: HostMemory | None) -> Placement:
    """Count the slots that fit once the autoscaler has added all it may. Takes the arguments of `place`."""
    now = place(resources, cluster.nodes, memory)
    most = place(resources, grown(resources, cluster, memory), memory)
    return Placement(max(now.by_devices, most.by_devices), max(now.by_memory, most.by_memory))


def grown(resources: ResourcesConfig, cluster: Cluster, memory: HostMemory | None) -> tuple[Node, ...]:
    """Return the nodes once the autoscaler has added all it may: of more than that, those that hold most."""
    heads = [node for node in cluster.nodes if node.is_head]
    best = sorted(cluster.addable, key=lambda node: -_fitting(node, resources, memory))
    return (*heads, *best[: cluster.most_added])


def ranks_on(node: Node, resources: ResourcesConfig) -> int:
    """Return how many ranks fit a node by its CPUs and GPUs; ranks may share a GPU, never split over two."""
    ranks = math.floor(node.cpus / resources.cpus_per_rank + _TOLERANCE)
    share = resources.gpus_per_rank
    if resources.accelerator and not has_kind(node, resources.accelerator):
        return 0
    if share >= 1:
        return min(ranks, math.floor(node.gpus / share + _TOLERANCE))
    if share > 0:
        return min(ranks, math.floor(node.gpus) * math.floor(1 / share + _TOLERANCE))
    return ranks


def has_kind(node: Node, accelerator: str) -> bool:
    """Tell whether a node has GPUs of this kind: by Ray's name, or as a word of the driver's longer one."""
    return accelerator == node.gpu_name or accelerator in re.split(r"[\s-]", node.gpu_name)


def _fitting(node: Node, resources: ResourcesConfig, memory: HostMemory | None) -> int:
    return int(min(ranks_on(node, resources), _by_memory(node, memory)))


def _slots(ranks_by_node: Sequence[int], resources: ResourcesConfig) -> int:
    per_slot = resources.ranks_per_slot
    if resources.span_nodes:
        return sum(ranks_by_node) // per_slot
    return sum(ranks // per_slot for ranks in ranks_by_node)


def _by_memory(node: Node, memory: HostMemory | None) -> float:
    if memory is None or not node.memory_gib:
        return math.inf
    return max(0, math.floor((node.memory_gib - memory.per_node_gib) / memory.per_rank_gib))
