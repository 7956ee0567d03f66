"""The processes of a worker group that hangs: write down where they stand, then end them.

Ranks may run on any machine, so both are Ray tasks that are bound to the machine of the rank.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.watch import Hang
from train_fn.heartbeat import DUMP_SIGNAL, Beat

_STACKS_S = 1.0
"""Writing the stacks takes milliseconds; a process that swaps may need longer."""
_TASK_TIMEOUT_S = 30.0
_VMSTAT = Path("/proc/vmstat")
logger = logging.getLogger(__name__)


def end_group(hang: Hang) -> None:
    """Write the stacks of all ranks into the trial's folder, then kill them; Ray Train starts them anew."""
    _on_their_machines(dump_stacks, hang)
    _on_their_machines(kill, hang)


def dump_stacks(beats: list[Beat], workspace: str) -> None:
    """Write `hang-rank<k>.txt` for ranks of this machine; of one that cannot answer the file says so."""
    folder = Path(workspace)
    folder.mkdir(parents=True, exist_ok=True)
    states = {beat.rank: _state(beat.pid) for beat in beats}
    for beat in beats:
        if states[beat.rank] != "gone":
            os.kill(beat.pid, DUMP_SIGNAL)
    time.sleep(_STACKS_S)
    for beat in beats:
        stacks = _stacks(beat)
        where = "outside of a step" if beat.place is None else "in a step"
        text = f"rank {beat.rank}, process {beat.pid} ({states[beat.rank]}), {beat.steps} steps behind, "
        text += f"{where}\n"
        text += stacks or "It wrote no stacks: a process that is stopped or gone cannot.\n"
        (folder / f"hang-rank{beat.rank}.txt").write_text(text)


def kill(beats: list[Beat], workspace: str) -> None:
    """Kill ranks of this machine, stopped ones too."""
    for beat in beats:
        if _state(beat.pid) != "gone":
            os.kill(beat.pid, signal.SIGKILL)


def machine_gone(nodes: Collection[str]) -> bool:
    """Tell whether one of the machines with these ids of Ray's is no longer part of the cluster."""
    there = {entry["NodeID"] for entry in ray.nodes() if entry["Alive"]}
    return not there.issuperset(nodes)


def oom_kills() -> int:
    """Count the processes that this machine's kernel has killed for memory; 0 where it does not say."""
    if not _VMSTAT.exists():
        return 0
    counts = dict(line.split() for line in _VMSTAT.read_text().splitlines())
    return int(counts.get("oom_kill", 0))


def _state(pid: int) -> str:
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return "gone"


def _stacks(beat: Beat) -> str:
    try:
        return Path(f"/proc/{beat.pid}/fd/{beat.stacks_file}").read_text()
    except OSError:  # the process is gone, or the system has no /proc
        return ""


def _on_their_machines(act: Callable[[list[Beat], str], None], hang: Hang) -> None:
    by_node: dict[str, list[Beat]] = {}
    for beat in hang.beats:
        by_node.setdefault(beat.node, []).append(beat)
    task = ray.remote(num_cpus=0, max_retries=0)(act)
    waiting = {}
    for node, beats in by_node.items():
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        waiting[task.options(scheduling_strategy=there).remote(beats, hang.workspace)] = node
    for done, node in waiting.items():
        try:
            ray.get(done, timeout=_TASK_TIMEOUT_S)
        except ray.exceptions.RayError as error:  # the machine is gone, and its ranks with it
            logger.warning("%s on machine %s: %s", act.__name__, node, error)
