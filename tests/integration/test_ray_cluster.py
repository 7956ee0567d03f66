"""What a real Ray says of its nodes."""

import pytest
import ray

from search.cluster import ray_cluster
from search.local_ray import connected
from search.placement import place
from search.stranded import unused_groups
from spaces.experiment import ResourcesConfig
from tests.chaos.machines import machines


@pytest.mark.slow
def test_the_nodes_of_a_running_ray_are_seen() -> None:
    ray.init(
        "local",
        num_cpus=3,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 2**20,
    )
    try:
        cluster = ray_cluster()
    finally:
        ray.shutdown()
    (node,) = cluster.nodes
    assert not cluster.local
    assert (node.cpus, node.gpus, node.gpu_memory_gib) == (3, 2, None)
    assert node.memory_gib > 0.1
    assert place(ResourcesConfig(gpus_per_rank=1), cluster.nodes, None).by_devices == 2


@pytest.mark.slow
def test_processes_of_a_search_find_their_own_ray_beside_another_one() -> None:
    """Ray's clean-up of dead trials asks like this; unanswered, a trial waits for ever for its place."""

    def groups() -> int:
        from ray.util.state import list_placement_groups

        return len(list_placement_groups())

    with machines(), connected(""):
        assert ray.get(ray.remote(num_cpus=0)(groups).remote(), timeout=120) == 0
        assert unused_groups() == set(), "the command itself asks too"
