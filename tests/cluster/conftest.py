"""Hosts for the tests of this folder, and the shipped cluster running on them."""

from collections.abc import Iterator

import pytest

from tests.cluster.hosts import Lan, lan, missing
from tests.cluster.launched import Cluster, launched
from tests.skips import skip

ADDRESSES = {
    "desk": "10.77.0.9",  # where the user sits
    "head": "10.77.0.1",
    "worker-1": "10.77.0.2",
    "worker-2": "10.77.0.3",
    "stranger": "10.77.0.66",  # a machine of the same network that has no token and no password
}


@pytest.fixture(scope="package")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    if reason := missing():
        skip("cluster", reason)
    with lan(tmp_path_factory.mktemp("hosts"), ADDRESSES) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def cluster(net: Lan) -> Iterator[Cluster]:
    with launched(net) as running:
        yield running
