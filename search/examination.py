"""Measure a cluster: one question after the other, each answered by every machine."""

import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search import checkup
from search.all_reduce import Bandwidth, backend_of, measure
from search.checkup import Check, Skew
from search.cluster import Cluster
from search.node_probe import DiskSpeed, NodeProbe
from search.placement import ranks_on
from search.services import hub_check, tracking_check
from spaces.experiment import Experiment, ResourcesConfig

ANSWER_S = 120.0
PINGS = 9


@dataclass(frozen=True)
class Machine:
    """A living node of the cluster that is connected."""

    name: str
    address: str
    probe: Any
    """Handle of its `NodeProbe`."""


def examine(
    experiment: Experiment,
    cluster: Cluster,
    storage: Path,
    uri: str,
    checkpoint_gib: float | None,
    repo: str,
) -> Iterator[Check]:
    """Yield one check after the other, as they are done. Ray must be connected.

    Args:
        experiment: Whose resources and storage are meant.
        cluster: The nodes, as `ray_cluster` lists them.
        storage: The storage folder.
        uri: Tracking address.
        checkpoint_gib: Size of one checkpoint; None is unknown.
        repo: `owner/name` on the Hub, or empty.
    """
    yield checkup.machines(cluster.nodes)
    all_machines, absent = _machines()
    if absent:
        yield Check("project", "failed", f"{absent}; install the project on every node")
        return
    facts = _ask(all_machines, lambda probe: probe.facts.remote())
    yield checkup.versions(facts)
    yield checkup.code(facts)
    yield checkup.drivers(facts, experiment.resources.gpus_per_rank > 0)
    yield checkup.clocks({machine.name: _skew(machine) for machine in all_machines})
    folder = storage.resolve() / f".doctor-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    try:
        shared = _storage(all_machines, folder, storage)
        yield shared
        if shared.verdict == "ok":
            yield _disk(all_machines, folder, checkpoint_gib, experiment.base.run.max_lost_minutes)
            yield _all_reduce(all_machines, cluster, experiment.resources, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # a machine that hangs may still hold a file there
    yield tracking_check(uri)
    yield hub_check(repo)


def _machines() -> tuple[list[Machine], str]:
    """Start a probe on each node; second, in words, where that did not work."""
    found = []
    for node in (one for one in ray.nodes() if one["Alive"]):
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


def _ask(machines: list[Machine], question: Callable[[Any], Any]) -> dict[str, Any]:
    """Put one question to all machines at once."""
    answers = ray.get([question(machine.probe) for machine in machines], timeout=ANSWER_S)
    return {machine.name: answer for machine, answer in zip(machines, answers, strict=True)}


def _skew(machine: Machine) -> Skew:
    """Compare a clock with ours by the quickest of several questions."""
    tries = []
    for _ in range(PINGS):
        asked = time.time()
        theirs = ray.get(machine.probe.now.remote(), timeout=ANSWER_S)
        answered = time.time()
        tries.append(Skew(theirs - (asked + answered) / 2, (answered - asked) / 2))
    return min(tries, key=lambda skew: skew.error_s)


def _storage(machines: list[Machine], folder: Path, storage: Path) -> Check:
    names = {machine.name: f"from-{number}" for number, machine in enumerate(machines)}
    refused = {}
    for machine in machines:
        why = ray.get(machine.probe.write.remote(str(folder), names[machine.name]), timeout=ANSWER_S)
        if why:
            refused[machine.name] = why
    unseen = _ask(machines, lambda probe: probe.unseen.remote(str(folder), list(names.values())))
    of_name = {file: name for name, file in names.items()}
    blind = {name: [of_name[file] for file in files] for name, files in unseen.items()}
    return checkup.storage(str(storage), refused, blind)


def _disk(machines: list[Machine], folder: Path, checkpoint_gib: float | None, lost: float) -> Check:
    speeds: dict[str, DiskSpeed] = {}
    for number, machine in enumerate(machines):  # in turn: they share the file system
        try:
            answer = machine.probe.disk.remote(str(folder), f"speed-{number}")
            speeds[machine.name] = ray.get(answer, timeout=ANSWER_S)
        except ray.exceptions.RayError as error:
            return Check("disk", "failed", f"on {machine.name}: {str(error).strip().splitlines()[-1]}")
    return checkup.disks(speeds, checkpoint_gib, lost)


def _all_reduce(machines: list[Machine], cluster: Cluster, resources: ResourcesConfig, folder: Path) -> Check:
    ranks, backend = resources.ranks_per_slot, backend_of(resources)
    if ranks == 1:
        return Check(
            "all-reduce", "skipped", "a slot is one rank; --set resources.ranks_per_slot=2 tries two"
        )
    found: dict[str, tuple[Bandwidth, ...]] = {}
    broken: Mapping[str, str] = {}
    for name, address in _places(machines, cluster, resources).items():
        try:
            found[name] = measure(resources, address, folder)
        except Exception as error:  # noqa: BLE001 - whatever Ray Train or NCCL raises is the finding
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            broken = {name: lines[-1][:300] if lines else type(error).__name__}
            break
    if not found and not broken:
        return Check("all-reduce", "failed", f"no node has room for the {ranks} ranks of a slot")
    return checkup.all_reduces(found, broken, ranks, backend)


def _places(machines: list[Machine], cluster: Cluster, resources: ResourcesConfig) -> dict[str, str | None]:
    """Return where a slot is tried: on each node that has room for one, or once over all of them."""
    fit = {node.name: ranks_on(node, resources) for node in cluster.nodes}
    if resources.span_nodes:
        return {"all nodes": None} if sum(fit.values()) >= resources.ranks_per_slot else {}
    return {one.name: one.address for one in machines if fit.get(one.name, 0) >= resources.ranks_per_slot}
