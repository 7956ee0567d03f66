from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.cluster import Cluster, Node
from search.placement import HostMemory, place, place_at_most, ranks_on
from spaces.experiment import ResourcesConfig


def node(cpus: float = 16, gpus: float = 4, memory_gib: float = 256) -> Node:
    return Node(cpus, gpus, memory_gib, 48 if gpus else None, "node")


def test_the_laptop_has_a_slot_per_core() -> None:
    laptop = (node(2, 0, 16),)
    assert place(ResourcesConfig(), laptop, None).by_devices == 2
    assert place(ResourcesConfig(ranks_per_slot=2), laptop, None).by_devices == 1
    assert place(ResourcesConfig(ranks_per_slot=3), laptop, None).by_devices == 0
    assert place(ResourcesConfig(gpus_per_rank=1), laptop, None).by_devices == 0


def test_a_slot_spans_nodes_only_when_it_may() -> None:
    resources = ResourcesConfig(ranks_per_slot=4, cpus_per_rank=1, gpus_per_rank=1)
    small = (node(gpus=2), node(gpus=2), node(gpus=3))
    assert place(resources, small, None).by_devices == 0
    assert place(resources, (node(gpus=2), node(gpus=8)), None).by_devices == 2
    assert place(replace(resources, span_nodes=True), small, None).by_devices == 1
    assert place(replace(resources, span_nodes=True), small, HostMemory(100, 50)).by_memory == 1
    assert place(replace(resources, span_nodes=True), small, HostMemory(200, 50)).by_memory == 0


def test_slots_take_all_of_a_node_and_nothing_of_a_head_without_cpus() -> None:
    full = ResourcesConfig(ranks_per_slot=4, cpus_per_rank=4, gpus_per_rank=1)
    assert place(full, (node(16, 4), node(0, 0)), None).by_devices == 1


@pytest.mark.parametrize(
    ("named", "kind", "ranks"),
    [
        ("A100", "A100", 4),
        ("NVIDIA A100-SXM4-80GB", "A100", 4),
        ("A10G", "A10", 0),
        ("A100", "A10", 0),
        ("", "A100", 0),
    ],
)
def test_ranks_run_on_the_kind_of_gpu_they_ask_for(named: str, kind: str, ranks: int) -> None:
    asked = ResourcesConfig(gpus_per_rank=1, accelerator=kind)
    assert ranks_on(replace(node(), gpu_name=named), asked) == ranks


def test_what_the_autoscaler_may_add_counts_with_the_head_but_not_twice() -> None:
    head, worker = replace(node(1, 0), is_head=True), node(4, 0, 0)
    cluster = Cluster((head, worker), local=False, addable=(worker, worker), most_added=2)
    assert place(ResourcesConfig(), cluster.nodes, None).by_devices == 5
    assert place_at_most(ResourcesConfig(), cluster, None).by_devices == 9
    assert place_at_most(ResourcesConfig(), replace(cluster, addable=()), None).by_devices == 5
    assert place_at_most(ResourcesConfig(), replace(cluster, most_added=1), None).by_devices == 5
    kinds = replace(cluster, addable=(worker, node(32, 0, 0)), most_added=1)
    assert place_at_most(ResourcesConfig(), kinds, None).by_devices == 33, (
        "the kind that holds more, not the first"
    )
    assert place_at_most(ResourcesConfig(), cluster, HostMemory(1, 1)).by_memory == 9, "no limit is told"


@pytest.mark.parametrize(("share", "ranks"), [(0.5, 4), (0.4, 4), (0.6, 2), (1, 2), (2, 1), (3, 0)])
def test_ranks_share_gpus_but_are_not_split_over_two(share: float, ranks: int) -> None:
    assert ranks_on(node(gpus=2), ResourcesConfig(gpus_per_rank=share)) == ranks


def test_memory_limits_slots() -> None:
    laptop = (node(8, 0, 10),)
    resources = ResourcesConfig(ranks_per_slot=2)
    assert place(resources, laptop, HostMemory(1.0, 2.0)).by_memory == 4
    assert place(resources, laptop, HostMemory(1.5, 2.0)).by_memory == 2
    assert place(resources, laptop, HostMemory(5.0, 2.0)).by_memory == 0
    assert place(resources, laptop, HostMemory(1.0, 20.0)).by_memory == 0


@given(st.floats(0.1, 4), st.integers(1, 8), st.integers(1, 64))
def test_what_fits_is_never_more_than_there_is(cpus_per_rank: float, ranks: int, cores: int) -> None:
    resources = ResourcesConfig(ranks_per_slot=ranks, cpus_per_rank=cpus_per_rank)
    assert place(resources, (node(cores, 0),), None).by_devices * ranks * cpus_per_rank <= cores + 1e-6
