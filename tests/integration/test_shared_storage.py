"""Two nodes of one cluster on this machine, the second of which has a disk of its own in one place."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.commands import REPOSITORY, command
from tests.object_store import ENVIRONMENT, s3_server

RAY = str(Path(sys.executable).with_name("ray"))
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(REPOSITORY)}


def may_unshare() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not may_unshare(), reason="needs a mount namespace (root)"),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the address of a cluster, and a folder that its node `w2` does not see."""
    own = tmp_path / "own"
    own.mkdir()
    more = ["--num-cpus=2", "--object-store-memory=80000000", "--disable-usage-stats", "--block"]
    env = os.environ | ENVIRONMENT | QUIET
    nodes = []
    try:
        head = [RAY, "start", "--head", "--port=0", "--node-ip-address=127.0.0.1", "--node-name=w1", *more]
        log = tmp_path / "head.log"
        with log.open("w") as out:
            head += ["--include-dashboard=false", f"--temp-dir={short()}"]
            nodes.append(subprocess.Popen(head, env=env, stdout=out, stderr=out))
        address = wait_for(log, nodes[0])
        worker = [
            RAY,
            "start",
            f"--address={address}",
            "--node-ip-address=127.0.0.1",
            "--node-name=w2",
            *more,
        ]
        hidden = f'mount -t tmpfs none "{own}" && exec "$0" "$@"'
        log = tmp_path / "worker.log"
        with log.open("w") as out:
            line = ["unshare", "-m", "sh", "-c", hidden, *worker]
            nodes.append(subprocess.Popen(line, env=env, stdout=out, stderr=out))
        wait_for_two(address)
        yield address, own
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait(60)


def short() -> str:
    """Return a folder for Ray's sockets, whose paths may have 107 characters."""
    return f"/tmp/ray-{os.getpid()}"


def wait_for(log: Path, node: "subprocess.Popen[bytes]") -> str:
    while True:
        found = re.search(r"--address='(127\.0\.0\.1:\d+)'", log.read_text())
        if found:
            return found[1]
        assert node.poll() is None, log.read_text()
        time.sleep(0.2)


def wait_for_two(address: str) -> None:
    code = (
        "import logging, ray, sys, time\n"
        "ray.init(address=sys.argv[1], logging_level=logging.ERROR)\n"
        "while sum(node['Alive'] for node in ray.nodes()) < 2: time.sleep(0.2)"
    )
    subprocess.run([sys.executable, "-c", code, address], env=os.environ | QUIET, check=True, timeout=120)


def plan(address: str, storage: str) -> "subprocess.CompletedProcess[str]":
    line = [*command(Path("storage")), "--address", address, "--plan"]
    line[line.index("--storage") + 1] = storage
    env = os.environ | ENVIRONMENT | QUIET
    return subprocess.run(line, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=300)


def test_storage_that_a_node_does_not_see_is_refused_and_what_it_sees_is_not(
    cluster: tuple[str, Path], tmp_path: Path
) -> None:
    address, own = cluster
    refused = plan(address, str(own / "runs"))
    assert refused.returncode == 2
    assert refused.stderr.strip().splitlines()[-1] == (
        f"error: --storage '{own}/runs' is a folder of this machine alone: node w2 does not see it; give a "
        "folder that all nodes share, or an address such as s3://bucket/path"
    )
    assert not any(own.iterdir())
    shared = plan(address, str(tmp_path / "runs"))
    assert shared.returncode == 0, shared.stderr
    with s3_server() as server:
        on_store = plan(address, server.address("team"))
        assert on_store.returncode == 0, on_store.stderr
        assert "s3://bucket/team" in on_store.stdout
