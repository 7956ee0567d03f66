"""What the doctor says of what it measured. Pure: a check is a judgement over values, in one line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from search.all_reduce import Bandwidth
from search.cluster import Node
from search.code_version import changed_sources
from search.node_probe import PACKAGES, DiskSpeed, NodeFacts
from spaces.words import count_text, list_text, seconds_text

Verdict = Literal["ok", "warning", "failed", "skipped"]

SKEW_WARNING_S = 0.5
SKEW_FAILED_S = 5.0
"""Signs of life and locks are compared over machines by the second."""
CHECKPOINT_SHARE = 0.1
"""Of the time that may be lost: a checkpoint that takes longer than this is a warning."""


@dataclass(frozen=True)
class Check:
    """One line of the doctor."""

    name: str
    verdict: Verdict
    told: str
    """What was found, and what to do about it."""


@dataclass(frozen=True)
class Skew:
    """How far a machine's clock is from the driver's."""

    seconds: float
    """Positive when it is ahead."""
    error_s: float
    """Half of the round trip that measured it (Cristian 1989, Probabilistic clock synchronization)."""


def machines(nodes: Sequence[Node]) -> Check:
    """Say what there is."""
    told = list_text([f"{node.name} ({node.cpus:g} CPUs, {node.gpus:g} GPUs)" for node in nodes], 8)
    return Check("machines", "ok", f"{count_text(len(nodes), 'node')}: {told}")


def versions(found: Mapping[str, NodeFacts]) -> Check:
    """Judge whether the same versions are installed everywhere."""
    first, *others = found
    told = []
    for what in ("python", *PACKAGES):
        have = {name: _version(facts, what) for name, facts in found.items()}
        if len(set(have.values())) > 1 or "missing" in have.values():
            told.append(f"{what} is " + ", ".join(f"{version} on {name}" for name, version in have.items()))
    if told:
        return Check("versions", "failed", f"{'; '.join(told)}; install the same project on every node")
    shown = ", ".join(f"{what} {_version(found[first], what)}" for what in ("python", *PACKAGES[:4]))
    return Check("versions", "ok", f"{shown}{' on all nodes' if others else ''}")


def code(found: Mapping[str, NodeFacts]) -> Check:
    """Judge whether all machines run the same code of ours."""
    (first, facts), *others = found.items()
    for name, other in others:
        if changed := changed_sources(facts.sources, other.sources):
            told = f"{list_text(changed, 3)} differs between {first} and {name}"
            return Check("code", "failed", f"{told}; install the same commit on every node")
    where = "the same on all nodes" if others else "one node"
    return Check("code", "ok", f"{len(facts.sources)} files that decide figures, {where}")


def drivers(found: Mapping[str, NodeFacts], gpus: bool) -> Check:
    """Judge the NVIDIA drivers: there where GPUs are wanted, and one version."""
    have = {name: facts.driver for name, facts in found.items() if facts.driver}
    told = ", ".join(f"{version} on {name}" for name, version in have.items())
    if "no answer" in have.values():
        return Check("driver", "failed", f"{told}; nvidia-smi does not answer there: repair the driver")
    if not have:
        if gpus:
            rule = "resources.gpus_per_rank asks for GPUs and no node has an NVIDIA driver"
            return Check("driver", "failed", f"{rule}; install it, or take --profile laptop")
        return Check("driver", "skipped", "no node has an NVIDIA driver, and no GPU is asked for")
    if len(set(have.values())) > 1:
        return Check("driver", "warning", f"{told}; different drivers may bring different NCCL behaviour")
    return Check("driver", "ok", told)


def clocks(skews: Mapping[str, Skew]) -> Check:
    """Judge how far the clocks are apart."""
    name, worst = max(skews.items(), key=lambda item: abs(item[1].seconds))
    told = (
        f"{name} is {abs(worst.seconds) * 1000:.0f} ms {'ahead' if worst.seconds > 0 else 'behind'} "
        f"(within {worst.error_s * 1000:.0f} ms)"
    )
    fix = "; run chrony or ntpd on every node"
    beyond = abs(worst.seconds) - worst.error_s
    if beyond > SKEW_FAILED_S:
        return Check("clocks", "failed", told + fix)
    if beyond > SKEW_WARNING_S:
        return Check("clocks", "warning", told + fix)
    return Check("clocks", "ok", f"the largest difference: {told}")


def storage(folder: str, refused: Mapping[str, str], unseen: Mapping[str, Sequence[str]]) -> Check:
    """Judge whether every machine reads what every machine writes.

    Args:
        folder: The storage folder.
        refused: Node -> why it could not write.
        unseen: Node -> nodes whose file it does not see.
    """
    if refused:
        told = ", ".join(f"{name} ({why})" for name, why in refused.items())
        return Check(
            "storage", "failed", f"{folder} cannot be written on {told}; give a folder all nodes share"
        )
    blind = {name: others for name, others in unseen.items() if others}
    if blind:
        name, others = next(iter(blind.items()))
        told = f"{folder} is not shared: {name} does not see what {list_text(list(others), 3)} wrote there"
        return Check("storage", "failed", f"{told}; give --storage a folder that all nodes share")
    return Check("storage", "ok", f"{folder} is written and read by {count_text(len(unseen), 'node')}")


def disks(speeds: Mapping[str, DiskSpeed], checkpoint_gib: float | None, max_lost_minutes: float) -> Check:
    """Judge how long a checkpoint takes on the slowest machine."""
    name, slowest = min(speeds.items(), key=lambda item: item[1].write_mib_s)
    told = (
        f"slowest on {name}: writes {slowest.write_mib_s:,.0f} MiB/s, reads {slowest.read_mib_s:,.0f} MiB/s, "
        f"{slowest.free_gib:,.1f} GiB free"
    )
    if checkpoint_gib is None:
        return Check("disk", "ok", told)
    seconds = checkpoint_gib * 1024 / slowest.write_mib_s
    told += f"; a checkpoint of {checkpoint_gib:,.2f} GiB takes {seconds_text(seconds)}"
    allowed = CHECKPOINT_SHARE * max_lost_minutes * 60
    if seconds > allowed:
        fix = f"more than {CHECKPOINT_SHARE:.0%} of run.max_lost_minutes = {max_lost_minutes:g}"
        return Check("disk", "warning", f"{told}, {fix}; take a faster file system, or raise it")
    return Check("disk", "ok", told)


def all_reduces(
    found: Mapping[str, Sequence[Bandwidth]], broken: Mapping[str, str], ranks: int, backend: str
) -> Check:
    """Judge whether the ranks of a slot can add up a tensor on every machine.

    Args:
        found: Node -> what was measured there.
        broken: Node -> why nothing was.
        ranks: Of a slot.
        backend: `nccl` or `gloo`.
    """
    if broken:
        name, why = next(iter(broken.items()))
        told = f"{backend} between {ranks} ranks failed on {name}: {why}"
        return Check("all-reduce", "failed", told)
    slow, times = min(found.items(), key=lambda item: item[1][-1].bus_gb_s)
    figures = ", ".join(
        f"{one.size_mib} MiB in {one.seconds * 1000:.1f} ms ({one.bus_gb_s:.2f} GB/s bus)" for one in times
    )
    where = f"slowest on {slow}: " if len(found) > 1 else ""
    return Check("all-reduce", "ok", f"{backend} between {ranks} ranks, sums right; {where}{figures}")


def _version(facts: NodeFacts, what: str) -> str:
    return facts.python if what == "python" else facts.packages.get(what, "missing")
