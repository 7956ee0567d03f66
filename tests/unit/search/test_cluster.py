import os
import socket
from pathlib import Path

import psutil
import pytest

from search import cluster
from search.cluster import find_address, local_machine, usable_cpus, usable_memory_gib

SMI = "0, GPU-aaaa-1, NVIDIA A100-SXM4-80GB, 81920\n1, GPU-bbbb-2, NVIDIA A100-SXM4-80GB, 81920\n"


def test_this_machine_is_seen_as_it_is() -> None:
    (node,) = local_machine().nodes
    assert local_machine().local
    assert 1 <= node.cpus <= len(os.sched_getaffinity(0))
    assert 0 < node.memory_gib <= psutil.virtual_memory().total / 2**30
    assert (node.gpus == 0) == (node.gpu_memory_gib is None)


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({"cpu.max": "150000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_a_containers_cpu_quota_counts(files: dict[str, str], cpus: int | None, tmp_path: Path) -> None:
    _write(tmp_path, files)
    assert usable_cpus(tmp_path) == (cpus or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_a_containers_memory_limit_counts(name: str, tmp_path: Path) -> None:
    _write(tmp_path, {name: str(2**29)})
    assert usable_memory_gib(tmp_path) == 0.5
    _write(tmp_path, {name: "max" if name == "memory.max" else str(2**63 - 4096)})
    assert usable_memory_gib(tmp_path) == psutil.virtual_memory().total / 2**30


def test_gpus_that_are_hidden_do_not_count() -> None:
    gpus = cluster._parse_gpus(SMI)
    assert [gpu.memory_gib for gpu in gpus] == [80.0, 80.0]
    assert cluster._visible(gpus, None) == gpus
    assert cluster._visible(gpus, "1,0") == gpus[::-1]
    assert cluster._visible(gpus, "GPU-bbbb") == gpus[1:]
    assert cluster._visible(gpus, "0,-1,1") == gpus[:1]
    assert cluster._visible(gpus, "") == []


def test_the_address_comes_from_the_user_then_the_environment_then_ray_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert find_address("10.0.0.2:6379") == "10.0.0.2:6379"
    assert find_address("") == "10.0.0.1:6379"
    assert find_address("local") == ""
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(cluster, "_RAY_ADDRESS_FILE", tmp_path / "ray_current_cluster")
    assert find_address("") == find_address("auto") == ""
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray_current_cluster").write_text(started)
        assert find_address("") == find_address("auto") == started
    assert find_address("") == "", "a cluster that is gone is none"


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
