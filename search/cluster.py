"""What the machines offer, read without starting anything.

The two functions differ only in whom they ask: the operating system, or a Ray that is already connected.
"""

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from train_fn.errors import InputError

GIB = 2**30
_HEAD = "node:__internal_head__"
_KIND = "accelerator_type:"
_NVIDIA_SMI = ("--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader,nounits")
_NVIDIA_SMI_TIMEOUT_S = 20.0
_CONNECT_TIMEOUT_S = 0.5
_RAY_ADDRESS_FILE = Path("/tmp/ray/ray_current_cluster")
"""Written by `ray start` (never by `ray.init`), so it names a cluster that somebody wants to be used."""


@dataclass(frozen=True)
class Node:
    """One machine."""

    cpus: float
    gpus: float
    memory_gib: float
    """0 where nobody says."""
    gpu_memory_gib: float | None
    """Of one GPU; None without GPUs or where nobody says."""
    name: str
    gpu_name: str = ""
    is_head: bool = False
    """Stays when an autoscaler takes all others away."""


@dataclass(frozen=True)
class Cluster:
    """The machines trials can run on."""

    nodes: tuple[Node, ...]
    local: bool
    """The command starts Ray itself, on this machine alone."""
    addable: tuple[Node, ...] = ()
    """What an autoscaler may have running besides the head: of each kind of node as many as it may."""
    most_added: int = 0
    """... and so many of them at the same time."""

    @property
    def possible(self) -> tuple[Node, ...]:
        """Every machine that a slot may ever get, some of them perhaps named twice."""
        return (*self.nodes, *self.addable)

    @property
    def told(self) -> str:
        """Say what it is: `Ray cluster of 3 nodes`."""
        if self.local:
            return "this machine"
        grows = f", up to {self.most_added} and the head" if self.addable else ""
        return f"Ray cluster of {len(self.nodes)} nodes{grows}"


def find_address(given: str) -> str:
    """Return the address of the Ray cluster to use, empty when the command starts its own.

    Args:
        given: What the user typed; `auto` looks for a running cluster, `local` wants none.

    Returns:
        `given`, or else RAY_ADDRESS, or else the cluster that `ray start` (or `ray up`) left running on this
        machine, when it still answers.
    """
    address = given or os.environ.get("RAY_ADDRESS", "")
    if address == "local":
        return ""
    if address and address != "auto":
        return address
    try:
        started = _RAY_ADDRESS_FILE.read_text().strip()
    except OSError:
        return ""
    return started if _answers(started) else ""


def _answers(address: str) -> bool:
    """Whether something listens there: the file outlives a cluster that was killed."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S):
            return True
    except (OSError, ValueError):
        return False


@cache
def local_machine() -> Cluster:
    """Return this machine: the CPUs and memory this process may use, and the GPUs it sees.

    Raises:
        InputError: The GPU driver does not answer.
    """
    gpus = _visible(_nvidia_gpus(), os.environ.get("CUDA_VISIBLE_DEVICES"))  # Ray and torch obey it too
    node = Node(
        cpus=usable_cpus(),
        gpus=len(gpus),
        memory_gib=usable_memory_gib(),
        gpu_memory_gib=min((gpu.memory_gib for gpu in gpus), default=None),
        name=platform.node(),
        gpu_name=gpus[0].name if gpus else "",
    )
    return Cluster((node,), local=True)


def ray_cluster() -> Cluster:
    """Return the living nodes of the Ray cluster that is connected."""
    import ray

    nodes = []
    for entry in ray.nodes():
        if not entry["Alive"]:
            continue
        resources = entry["Resources"]
        nodes.append(
            Node(
                cpus=resources.get("CPU", 0.0),
                gpus=resources.get("GPU", 0.0),
                memory_gib=resources.get("memory", 0.0) / GIB,
                gpu_memory_gib=None,  # Ray does not know it
                name=entry["NodeName"],
                gpu_name=kind_of_gpu(resources),
                is_head=_HEAD in resources,
            )
        )
    return Cluster(tuple(nodes), local=False)


def kind_of_gpu(resources: Mapping[str, float]) -> str:
    """Return which GPUs a node has, by the resource that Ray gives it for them; empty without one."""
    return next((name.removeprefix(_KIND) for name in resources if name.startswith(_KIND)), "")


def usable_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many CPUs this process may keep busy: its affinity, cut by the quota of its container."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    quota, period = _words(cgroup / "cpu.max", 2)  # cgroup v2
    if quota is None:
        (quota,) = _words(cgroup / "cpu/cpu.cfs_quota_us", 1)  # v1
        (period,) = _words(cgroup / "cpu/cpu.cfs_period_us", 1)
    if quota is None or period is None or quota <= 0:
        return cpus
    return max(1, min(cpus, int(quota / period)))


def usable_memory_gib(cgroup: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the memory of this machine, cut by the limit of its container, in GiB."""
    total: int = psutil.virtual_memory().total
    for file in (cgroup / "memory.max", cgroup / "memory/memory.limit_in_bytes"):
        (limit,) = _words(file, 1)
        if limit is not None:
            total = min(total, int(limit))
    return total / GIB


def _words(file: Path, count: int) -> list[float | None]:
    """Return the numbers of a one-line file; None for each that is missing or `max`."""
    try:
        words = file.read_text().split()
    except OSError:
        words = []
    numbers: list[float | None] = [float(word) if word.lstrip("-").isdigit() else None for word in words]
    return (numbers + [None] * count)[:count]


@dataclass(frozen=True)
class _Gpu:
    index: str
    uuid: str
    name: str
    memory_gib: float


def _nvidia_gpus() -> list[_Gpu]:
    """Ask the driver's own tool: importing torch for this takes seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(
            [tool, *_NVIDIA_SMI], capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        wait = f"{_NVIDIA_SMI_TIMEOUT_S:.0f} s"
        raise InputError(
            f"nvidia-smi = {tool!r} did not answer within {wait}; repair the driver or hide the tool"
        ) from None
    return _parse_gpus(answer.stdout) if answer.returncode == 0 else []


def _parse_gpus(text: str) -> list[_Gpu]:
    gpus = []
    for line in text.splitlines():
        index, uuid, name, mib = (part.strip() for part in line.split(","))
        gpus.append(_Gpu(index, uuid, name, float(mib) / 1024 if mib.isdigit() else 0.0))
    return gpus


def _visible(gpus: list[_Gpu], setting: str | None) -> list[_Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves: numbers or UUIDs; an unknown one ends the list."""
    if setting is None:
        return gpus
    seen = []
    for word in setting.split(","):
        match = [
            g for g in gpus if word.strip() and (word.strip() == g.index or g.uuid.startswith(word.strip()))
        ]
        if not match:
            break
        seen.append(match[0])
    return seen
