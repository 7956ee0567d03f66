"""What a search on this machine listens on."""

import ipaddress
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.integration.commands import REPOSITORY, command


def listening(pid: int) -> set[tuple[str, str]]:
    """Name the processes below a command that listen, and the addresses."""
    found = set()
    for process in psutil.Process(pid).children(recursive=True):
        try:
            sockets = process.net_connections("inet")
            found |= {(process.name(), one.laddr.ip) for one in sockets if one.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue  # ended meanwhile
    return found


def is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_local_search_listens_on_loopback_alone(ranks: int, own_dialogues: Path, tmp_path: Path) -> None:
    own = (f"data.sources={own_dialogues}", "data.clean.near_duplicates=false")
    slot = (f"resources.ranks_per_slot={ranks}", "resources.cpus_per_rank=0.5", "resources.slots=1")
    output = tmp_path / "output"
    with output.open("w") as out:
        search = subprocess.Popen(
            command(tmp_path, *own, *slot, "budget.trials=1"), cwd=REPOSITORY, stdout=out, stderr=out
        )
    seen: set[tuple[str, str]] = set()
    deadline = time.monotonic() + 240
    while search.poll() is None:
        assert time.monotonic() < deadline, output.read_text()
        seen |= listening(search.pid)
        time.sleep(0.5)
    assert search.returncode == 0, output.read_text()
    assert any("Train" in name or "ray::" in name for name, _ in seen), "no worker was seen at all"
    assert {one for one in seen if not is_loopback(one[1])} == set()
