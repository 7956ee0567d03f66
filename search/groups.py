"""The worker group of a slot: the ranks that train its trials, one after another.

Several ranks, or ranks on other machines, are Ray Train's to place, to connect, to warn and to replace. It
takes a controller and four more processes for that, on two cores half of the time until a slot trains. A
single rank beside the slot needs none of them: an actor runs the same function in Ray Train's local mode.
"""

import sys
from dataclasses import dataclass
from typing import Any

import ray
from ray import train
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from spaces.experiment import ResourcesConfig
from train_fn.loading import loading


@dataclass(frozen=True)
class GroupSettings:
    """What every worker group of a search shares."""

    resources: ResourcesConfig
    ray_folder: str
    local: bool
    """Whether all ranks run on this machine, which nobody takes away."""


def run_group(settings: GroupSettings, name: str, mailbox: Any) -> None:
    """Start the ranks of a slot and wait until they were sent home, or a lone one died.

    The mailbox is told why ranks ended.

    Args:
        settings: Of the search.
        name: Of the group, unlike that of any other.
        mailbox: Handle of the slot's mailbox actor.

    Raises:
        Exception: What ended Ray Train's controller.
    """
    if settings.local and settings.resources.ranks_per_slot == 1:
        _run_alone(settings.resources, mailbox)
    else:
        _trainer(settings, name, mailbox).fit()


def train_in_slot(loop_config: dict[str, Any]) -> None:
    """Enter the worker process; its libraries are imported there, not in the slot actor."""
    # DeepSpeed's autotuner, which we never start, imports MLflow where it can: a second of every start.
    sys.modules.setdefault("mlflow", None)  # type: ignore[arg-type]
    with loading():
        from train_fn.worker import work

    work(loop_config)


class LoneRank:
    """Actor that is a whole worker group."""

    def train(self, loop_config: dict[str, Any], backend: str) -> None:
        """Train the slot's trials until its mailbox closes."""
        with loading():
            import torch.distributed as dist
            from ray.train.torch import TorchTrainer

        # Ray Train's local mode makes no process group; this one listens nowhere.
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        TorchTrainer(
            train_in_slot, train_loop_config=loop_config, scaling_config=train.ScalingConfig(num_workers=0)
        ).fit()


def _run_alone(resources: ResourcesConfig, mailbox: Any) -> None:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(
        num_cpus=resources.cpus_per_rank, num_gpus=resources.gpus_per_rank,
        accelerator_type=resources.accelerator or None, scheduling_strategy=here,
    )(LoneRank)  # fmt: skip
    rank = actor.remote()
    try:
        ray.get(rank.train.remote({"mailbox": mailbox}, _backend(resources)))
    except RayError as error:  # also what is no death of an actor to Ray: its memory monitor's kill
        ray.kill(rank)
        ray.get(mailbox.lost.remote({0: str(error)}))


class _TellLosses(train.UserCallback):  # type: ignore[misc]
    """Tell the mailbox that the worker group is over, and why. Runs where Ray Train controls the group."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def after_exception(self, run_context: object, worker_exceptions: dict[int, Exception]) -> None:
        """Pass on what Ray says of the ranks that ended with an error."""
        self._mailbox.lost.remote({rank: str(error) for rank, error in worker_exceptions.items()})


def _trainer(settings: GroupSettings, name: str, mailbox: Any) -> Any:
    # These import torch, which the driver does without.
    from ray.train.torch import TorchConfig, TorchTrainer

    from search.local_ranks import LocalTorchConfig

    resources = settings.resources
    per_worker = {"CPU": resources.cpus_per_rank}
    if resources.gpus_per_rank:
        per_worker["GPU"] = resources.gpus_per_rank
    return TorchTrainer(
        train_in_slot,
        train_loop_config={"mailbox": mailbox},
        torch_config=(LocalTorchConfig if settings.local else TorchConfig)(backend=_backend(resources)),
        scaling_config=train.ScalingConfig(
            num_workers=resources.ranks_per_slot,
            use_gpu=resources.gpus_per_rank > 0,
            resources_per_worker=per_worker,
            accelerator_type=resources.accelerator or None,
            placement_strategy="PACK" if resources.span_nodes else "STRICT_PACK",
        ),
        run_config=train.RunConfig(
            name=name,
            storage_path=settings.ray_folder,
            failure_config=train.FailureConfig(max_failures=-1, max_preemption_failures=-1),
            callbacks=[_TellLosses(mailbox)],
        ),
    )


def _backend(resources: ResourcesConfig) -> str:
    return "nccl" if resources.gpus_per_rank else "gloo"
