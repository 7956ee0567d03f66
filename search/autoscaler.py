"""What the autoscaler of a Ray cluster may add to it, and how it is asked to.

`ray up` leaves its whole configuration on the head, every node type with its resources filled in
(docs.ray.io, "Cluster YAML Configuration Options": `available_node_types`, `max_workers`).
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from search.cluster import GIB, Cluster, Node, kind_of_gpu, ray_cluster
from spaces.experiment import ResourcesConfig
from train_fn.errors import InputError

CONFIGURATION = Path("~/ray_bootstrap_config.yaml")
"""On the head; a command that runs elsewhere finds no such file and takes the cluster as it is."""


def growing_cluster(path: Path = CONFIGURATION) -> Cluster:
    """Return the Ray cluster that is connected, with what its autoscaler may add.

    Raises:
        InputError: The file is none that `ray up` writes.
    """
    nodes, most = addable_nodes(path)
    return replace(ray_cluster(), addable=nodes, most_added=most)


def addable_nodes(path: Path = CONFIGURATION) -> tuple[tuple[Node, ...], int]:
    """Return the worker nodes that an autoscaler may have running, by its configuration.

    Args:
        path: The file that `ray up` leaves on the head; need not exist.

    Returns:
        As many of each type as it may have, and how many of all at the same time.

    Raises:
        InputError: The file is none that `ray up` writes.
    """
    try:
        text = path.expanduser().read_text()
    except OSError:
        return (), 0
    try:
        config = yaml.safe_load(text)
        types = config["available_node_types"]
        workers = [kind for kind in types if kind != config["head_node_type"]]
        nodes = tuple(node for kind in workers for node in _of_type(kind, types[kind]))
        return nodes, min(len(nodes), int(config.get("max_workers", len(nodes))))
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is no configuration of `ray up` ({type(error).__name__}: {error}); "
            "start the cluster anew, or remove the file"
        ) from None


def _of_type(name: str, settings: dict[str, Any]) -> list[Node]:
    resources: dict[str, float] = settings["resources"]
    node = Node(
        cpus=float(resources.get("CPU", 0)),
        gpus=float(resources.get("GPU", 0)),
        memory_gib=float(resources.get("memory", 0)) / GIB,
        gpu_memory_gib=None,
        name=name,
        gpu_name=kind_of_gpu(resources),
    )
    return [node] * int(settings.get("max_workers", 0))


def request_slots(resources: ResourcesConfig, slots: int) -> None:
    """Ask the autoscaler for machines that hold so many slots; 0 lets it take them away again."""
    from ray.autoscaler.sdk import request_resources

    per_rank = {"CPU": resources.cpus_per_rank, "GPU": resources.gpus_per_rank}
    if resources.accelerator:
        per_rank[f"accelerator_type:{resources.accelerator}"] = 0.001
    ranks = resources.ranks_per_slot
    if resources.span_nodes:
        bundles = [per_rank] * (slots * ranks)
    else:  # one bundle lies on one node
        bundles = [{name: ranks * amount for name, amount in per_rank.items()}] * slots
    request_resources(bundles=[{name: n for name, n in one.items() if n} for one in bundles])
