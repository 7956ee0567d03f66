import logging
from dataclasses import replace

import pytest

from search import capacity
from search.capacity import fixed, following
from search.cluster import Cluster, Node
from spaces.experiment import ResourcesConfig

HEAD = Node(0, 0, 8, None, "head", is_head=True)
WORKER = Node(2, 0, 8, None, "worker")


def test_one_machine_stays_as_it_is() -> None:
    assert [fixed(2)(wanted) for wanted in (0, 1, 9)] == [2, 2, 2]


def test_the_slots_follow_the_machines_up_to_what_is_planned_and_changes_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster((HEAD, WORKER), local=False)
    monkeypatch.setattr(capacity, "ray_cluster", lambda: cluster)
    asked: list[int] = []
    slots = following(ResourcesConfig(), None, 3, asked.append)
    with caplog.at_level(logging.WARNING):
        assert slots(9) == slots(9) == 2
        cluster = replace(cluster, nodes=(HEAD, WORKER, WORKER))
        assert slots(2) == 3
        cluster = replace(cluster, nodes=(HEAD,))
        assert slots(0) == 0
    assert asked == [3, 2, 0], "the autoscaler is asked for what can be used, and only for news"
    assert [record.getMessage() for record in caplog.records] == [
        "the cluster holds 3 slots now",
        "the cluster holds no slots now: trials wait for machines",
    ]
