"""What the doctor says of measured values."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from search.all_reduce import Bandwidth, bus_bandwidth
from search.checkup import Check, Skew, all_reduces, clocks, code, disks, drivers, machines, storage, versions
from search.cluster import Node
from search.node_probe import PACKAGES, DiskSpeed, NodeFacts

FACTS = NodeFacts("3.11.7", dict.fromkeys(PACKAGES, "1.0"), {"train_fn/loss.py": "aa"}, "580.1")


def test_machines_are_named_with_what_they_have() -> None:
    check = machines([Node(0, 0, 4, None, "head"), Node(8, 4, 64, 80, "w1")])
    assert check == Check("machines", "ok", "2 nodes: head (0 CPUs, 0 GPUs) and w1 (8 CPUs, 4 GPUs)")


def test_equal_versions_are_well_and_others_are_named_with_their_nodes() -> None:
    assert versions({"a": FACTS, "b": FACTS}).verdict == "ok"
    other = replace(FACTS, packages={**FACTS.packages, "torch": "2.0"})
    check = versions({"a": FACTS, "b": other})
    assert check.verdict == "failed"
    assert "torch is 1.0 on a, 2.0 on b" in check.told


def test_a_package_that_is_missing_everywhere_fails_too() -> None:
    bare = replace(FACTS, packages={})
    assert versions({"a": bare}).verdict == "failed"


def test_code_that_differs_is_named_by_file_and_node() -> None:
    assert code({"a": FACTS, "b": FACTS}).verdict == "ok"
    check = code({"a": FACTS, "b": replace(FACTS, sources={"train_fn/loss.py": "bb"})})
    assert check.verdict == "failed"
    assert "train_fn/loss.py differs between a and b" in check.told


@pytest.mark.parametrize(
    ("versions_of", "gpus", "verdict"),
    [
        (("580.1", "580.1"), True, "ok"),
        (("580.1", "550.9"), True, "warning"),
        (("580.1", "no answer"), True, "failed"),
        (("", ""), True, "failed"),
        (("", ""), False, "skipped"),
    ],
)
def test_drivers(versions_of: tuple[str, str], gpus: bool, verdict: str) -> None:
    found = {name: replace(FACTS, driver=one) for name, one in zip("ab", versions_of, strict=True)}
    assert drivers(found, gpus).verdict == verdict


@pytest.mark.parametrize(
    ("seconds", "error_s", "verdict"),
    [
        (0.01, 0.001, "ok"),
        (-1.0, 0.001, "warning"),
        (1.0, 0.9, "ok"),  # within what the measurement leaves open
        (-60.0, 0.001, "failed"),
    ],
)
def test_clocks_are_judged_beyond_the_error_of_the_measurement(
    seconds: float, error_s: float, verdict: str
) -> None:
    check = clocks({"a": Skew(0.0, 0.001), "b": Skew(seconds, error_s)})
    assert check.verdict == verdict
    assert check.told.startswith(("b is", "the largest difference: b is"))


def test_a_folder_that_is_not_shared_is_found_by_who_does_not_see_what() -> None:
    check = storage("/data", {}, {"head": [], "w1": ["head"]})
    assert check.verdict == "failed"
    assert "w1 does not see what head wrote there" in check.told
    assert storage("/data", {}, {"head": [], "w1": []}).verdict == "ok"
    assert "w1 (Read-only file system)" in storage("/data", {"w1": "Read-only file system"}, {}).told


@pytest.mark.parametrize(("checkpoint_gib", "verdict"), [(None, "ok"), (1.0, "ok"), (6.0, "warning")])
def test_a_checkpoint_that_takes_long_is_a_warning(checkpoint_gib: float | None, verdict: str) -> None:
    speeds = {"a": DiskSpeed(900, 900, 10), "b": DiskSpeed(100, 900, 10)}
    check = disks(speeds, checkpoint_gib, 10)
    assert check.verdict == verdict
    assert check.told.startswith("slowest on b: writes 100 MiB/s")


def test_bus_bandwidth_is_that_of_nccl_tests() -> None:
    """Eight ranks, 1 GB in 10 ms: 100 GB/s of algorithm, times 2 x 7 / 8."""
    assert bus_bandwidth(1e9, 0.01, 8) == pytest.approx(175.0)


def test_the_slowest_machine_speaks_for_the_all_reduce() -> None:
    fast, slow = Bandwidth(64, 0.01, 6.7), Bandwidth(64, 0.1, 0.67)
    check = all_reduces({"a": [fast], "b": [slow]}, {}, 2, "gloo")
    assert check.verdict == "ok"
    assert "slowest on b: 64 MiB in 100.0 ms (0.67 GB/s bus)" in check.told
    broken = all_reduces({"a": [fast]}, {"b": "Connection closed by peer"}, 2, "nccl")
    assert (broken.verdict, broken.told) == (
        "failed", "nccl between 2 ranks failed on b: Connection closed by peer",
    )  # fmt: skip


@pytest.mark.parametrize("judge", [versions, code])
def test_one_node_agrees_with_itself(judge: Callable[[dict[str, NodeFacts]], Check]) -> None:
    assert judge({"a": FACTS}).verdict == "ok"
