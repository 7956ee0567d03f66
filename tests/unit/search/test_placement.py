import pytest
from hypothesis import given
from hypothesis import strategies as st

from search import placement
from search.cluster import Cluster, Node
from search.placement import HostMemory, place, ranks_on
from spaces.experiment import ResourcesConfig


def node(cpus: float = 16, gpus: float = 4, memory_gib: float = 256) -> Node:
    return Node(cpus, gpus, memory_gib, 48 if gpus else None, "node")


def test_the_laptop_has_a_slot_per_core() -> None:
    laptop = Cluster((node(2, 0, 16),), local=True)
    assert place(ResourcesConfig(), laptop, None).by_devices == 2
    assert place(ResourcesConfig(ranks_per_slot=2), laptop, None).by_devices == 1
    assert place(ResourcesConfig(ranks_per_slot=3), laptop, None).by_devices == 0
    assert place(ResourcesConfig(gpus_per_rank=1), laptop, None).by_devices == 0


def test_a_slot_does_not_span_nodes() -> None:
    resources = ResourcesConfig(ranks_per_slot=4, cpus_per_rank=1, gpus_per_rank=1)
    assert (
        place(resources, Cluster((node(gpus=2), node(gpus=2), node(gpus=3)), local=False), None).by_devices
        == 0
    )
    assert place(resources, Cluster((node(gpus=2), node(gpus=8)), local=False), None).by_devices == 2


def test_slot_actors_need_a_little_of_a_cluster() -> None:
    full = ResourcesConfig(ranks_per_slot=4, cpus_per_rank=4, gpus_per_rank=1)
    assert place(full, Cluster((node(16, 4),), local=False), None).by_devices == 0
    assert place(full, Cluster((node(16, 4), node(1, 0)), local=False), None).by_devices == 1
    assert place(full, Cluster((node(16, 4),), local=True), None).by_devices == 1


@pytest.mark.parametrize(("share", "ranks"), [(0.5, 4), (0.4, 4), (0.6, 2), (1, 2), (2, 1), (3, 0)])
def test_ranks_share_gpus_but_are_not_split_over_two(share: float, ranks: int) -> None:
    assert ranks_on(node(gpus=2), ResourcesConfig(gpus_per_rank=share)) == ranks


def test_memory_limits_slots() -> None:
    laptop = Cluster((node(8, 0, 10),), local=True)
    resources = ResourcesConfig(ranks_per_slot=2)
    assert place(resources, laptop, HostMemory(1.0, 2.0)).by_memory == 4
    assert place(resources, laptop, HostMemory(1.5, 2.0)).by_memory == 2
    assert place(resources, laptop, HostMemory(5.0, 2.0)).by_memory == 0
    assert place(resources, laptop, HostMemory(1.0, 20.0)).by_memory == 0


@given(st.floats(0.1, 4), st.integers(1, 8), st.integers(1, 64))
def test_what_fits_is_never_more_than_there_is(cpus_per_rank: float, ranks: int, cores: int) -> None:
    resources = ResourcesConfig(ranks_per_slot=ranks, cpus_per_rank=cpus_per_rank)
    fits = place(resources, Cluster((node(cores, 0),), local=False), None).by_devices
    assert fits * (ranks * cpus_per_rank + placement.SLOT_CPUS) <= cores + 1e-6
