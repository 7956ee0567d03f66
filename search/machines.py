"""The machines of the cluster that is connected, and how to ask them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.node_probe import NodeProbe

ANSWER_S = 180.0
"""Longer than a store is asked again (`train_fn.object_store.RETRY_S`)."""


@dataclass(frozen=True)
class Machine:
    """A living node of the cluster that is connected."""

    name: str
    address: str
    probe: Any
    """Handle of its `NodeProbe`."""


def living_nodes() -> list[dict[str, Any]]:
    """Return the living nodes as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def probed(nodes: Sequence[dict[str, Any]]) -> tuple[list[Machine], str]:
    """Start a probe on each node; second, in words, where that did not work."""
    found = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        probe = ray.remote(num_cpus=0, scheduling_strategy=there)(NodeProbe).remote()
        found.append(Machine(node["NodeName"], node["NodeManagerAddress"], probe))
    for machine in found:
        try:
            ray.get(machine.probe.now.remote(), timeout=ANSWER_S)
        except ray.exceptions.RayError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            return [], f"{machine.name} cannot run it: {lines[-1].strip()[:300]}"
    return found, ""


def ask(machines: Sequence[Machine], question: Callable[[Any], Any]) -> dict[str, Any]:
    """Put one question to all machines at once; return the answers by their names."""
    answers = ray.get([question(machine.probe) for machine in machines], timeout=ANSWER_S)
    return {machine.name: answer for machine, answer in zip(machines, answers, strict=True)}
