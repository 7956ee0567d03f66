"""Measure a cluster: one question after the other, each answered by every machine."""

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray

from search import checkup
from search.all_reduce import Bandwidth, backend_of, measure
from search.checkup import Check, Skew
from search.cluster import Cluster
from search.machines import ANSWER_S, Machine, ask, living_nodes, probed
from search.node_probe import DiskSpeed
from search.placement import ranks_on
from search.services import hub_check, tracking_check
from spaces.experiment import Experiment, ResourcesConfig
from train_fn import object_store
from train_fn.working_copy import place_of, shown

PINGS = 9


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
        storage: The storage folder, or the working copy of a store.
        uri: Tracking address.
        checkpoint_gib: Size of one checkpoint; None is unknown.
        repo: `owner/name` on the Hub, or empty.
    """
    yield checkup.machines(cluster.nodes)
    all_machines, absent = probed(living_nodes())
    if absent:
        yield Check("project", "failed", f"{absent}; install the project on every node")
        return
    facts = ask(all_machines, lambda probe: probe.facts.remote())
    yield checkup.versions(facts)
    yield checkup.code(facts)
    yield checkup.drivers(facts, experiment.resources.gpus_per_rank > 0)
    yield checkup.clocks({machine.name: _skew(machine) for machine in all_machines})
    folder = storage.resolve() / f".doctor-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    try:
        shared = _storage(all_machines, folder, shown(storage))
        yield shared
        if shared.verdict == "ok":
            where = shown(storage) if place_of(folder) else str(folder)
            yield _disk(all_machines, where, checkpoint_gib, experiment.base.run.max_lost_minutes)
            yield _all_reduce(all_machines, cluster, experiment.resources, folder)
    finally:
        place = place_of(folder)
        if place is not None:
            object_store.remove_below(place.address, place.name)
        shutil.rmtree(folder, ignore_errors=True)  # a machine that hangs may still hold a file there
    yield tracking_check(uri)
    yield hub_check(repo)


def _skew(machine: Machine) -> Skew:
    """Compare a clock with ours by the quickest of several questions."""
    tries = []
    for _ in range(PINGS):
        asked = time.time()
        theirs = ray.get(machine.probe.now.remote(), timeout=ANSWER_S)
        answered = time.time()
        tries.append(Skew(theirs - (asked + answered) / 2, (answered - asked) / 2))
    return min(tries, key=lambda skew: skew.error_s)


def _storage(machines: list[Machine], folder: Path, storage: str) -> Check:
    where = str(place_of(folder) or folder)
    names = {machine.name: f"from-{number}" for number, machine in enumerate(machines)}
    refused = {}
    for machine in machines:
        why = ray.get(machine.probe.write.remote(where, names[machine.name]), timeout=ANSWER_S)
        if why:
            refused[machine.name] = why
    unseen = ask(machines, lambda probe: probe.unseen.remote(where, list(names.values())))
    of_name = {file: name for name, file in names.items()}
    blind = {name: [of_name[file] for file in files] for name, files in unseen.items()}
    return checkup.storage(storage, refused, blind)


def _disk(machines: list[Machine], where: str, checkpoint_gib: float | None, lost: float) -> Check:
    speeds: dict[str, DiskSpeed] = {}
    for number, machine in enumerate(machines):  # in turn: they share the file system
        try:
            answer = machine.probe.disk.remote(where, f"speed-{number}")
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
