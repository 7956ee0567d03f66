"""Measure an all-reduce between the ranks of a slot, started the way a slot starts them."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spaces.experiment import ResourcesConfig

SIZES_MIB = (1, 64)
ROUNDS = 7
TIMEOUT_S = 60
"""For the ranks to find each other, and for one all-reduce: a blocked port shows as silence."""


@dataclass(frozen=True)
class Bandwidth:
    """How fast ranks add up a tensor."""

    size_mib: int
    seconds: float
    """Median of `ROUNDS`."""
    bus_gb_s: float
    """See `bus_bandwidth`, in 10^9 bytes a second."""


def bus_bandwidth(size_bytes: float, seconds: float, ranks: int) -> float:
    """Return the bus bandwidth of an all-reduce, in 10^9 bytes a second.

    Each rank sends and receives 2(n-1)/n of the tensor whatever the algorithm, so this figure does not fall
    with the number of ranks and can be held against the hardware's (NVIDIA's nccl-tests, doc/PERFORMANCE.md).
    """
    return 2 * (ranks - 1) / ranks * size_bytes / seconds / 1e9


def backend_of(resources: ResourcesConfig) -> str:
    """Return what carries collectives: NCCL between GPUs, gloo between CPUs."""
    return "nccl" if resources.gpus_per_rank else "gloo"


def measure(resources: ResourcesConfig, node: str | None, folder: Path) -> tuple[Bandwidth, ...]:
    """Start the ranks of one slot and let them add up tensors. Ray must be connected.

    Args:
        resources: Of the experiment; at least two ranks.
        node: Address of the node as Ray names it; None spreads the ranks over nodes.
        folder: Where Ray Train may write; all nodes see it.

    Raises:
        Exception: Ray Train's own, in its words: the group could not start, or a rank failed.
    """
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    per_rank = {"CPU": resources.cpus_per_rank}
    if node is not None:
        per_rank[f"node:{node}"] = 0.001
    if resources.gpus_per_rank:
        per_rank["GPU"] = resources.gpus_per_rank
    trainer = TorchTrainer(
        _rank,
        torch_config=TorchConfig(backend=backend_of(resources), timeout_s=TIMEOUT_S),
        scaling_config=train.ScalingConfig(
            num_workers=resources.ranks_per_slot,
            use_gpu=resources.gpus_per_rank > 0,
            resources_per_worker=per_rank,
            placement_strategy="PACK" if node is not None else "SPREAD",
        ),
        run_config=train.RunConfig(
            name=f"doctor-{node or 'all'}",
            storage_path=str(folder),
            failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=0),
        ),
    )
    found: tuple[Bandwidth, ...] = trainer.fit().return_value
    return found


def _rank(config: dict[str, Any]) -> tuple[Bandwidth, ...]:
    """Add up tensors with the other ranks; each size is warmed up, timed, and checked."""
    import torch.distributed as dist

    from train_fn.precision import trial_device

    device = trial_device()
    return tuple(_timed(size, device, dist.get_world_size()) for size in SIZES_MIB)


def _timed(size_mib: int, device: Any, ranks: int) -> Bandwidth:
    import torch
    import torch.distributed as dist

    tensor = torch.ones(size_mib * 2**20 // 4, device=device)
    seconds = []
    for _ in range(ROUNDS + 1):
        tensor.fill_(1.0)
        dist.barrier()
        began = time.perf_counter()
        dist.all_reduce(tensor)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
        if not bool((tensor == ranks).all()):
            raise RuntimeError(f"an all-reduce of {size_mib} MiB over {ranks} ranks gave a wrong sum")
    median = statistics.median(seconds[1:])  # the first one sets up connections
    return Bandwidth(size_mib, median, bus_bandwidth(size_mib * 2**20, median, ranks))
