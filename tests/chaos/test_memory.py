"""A rank that runs out of memory: the kernel refuses it more, as a machine does that is full."""

import json
import math
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from search.events import Event, Reported, Retried
from search.ledger import read_events
from tests.chaos.faults import ranks
from tests.integration.commands import REPOSITORY, command, run
from tests.unit.search.sent import Sent

FULL, HALF = 4096, 2048
STEP_TOKENS = 3000
SETTINGS = (
    "data.clean.near_duplicates=false",
    "data.max_example_tokens=512",
    "resources.slots=1",
    "optim.effective_batch_size=64",
    f"engine.max_tokens_per_micro_batch={FULL}",
    "run.max_tokens=60000",
    f"run.window_tokens={STEP_TOKENS}",
    "halving.first_rung_tokens=20000",
)
MIB = 2**20
# What is freed goes back to the kernel at once, so what it counts is what is in use.
ENVIRONMENT = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def in_use(pid: int) -> int:
    """Bytes that the kernel holds against the limit RLIMIT_DATA; 0 of a process that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    _, told, rest = status.partition("VmData:")  # a process that is ending has none
    return int(rest.split()[0]) * 1024 if told else 0


def limit(pid: int, size: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_DATA, (size, resource.RLIM_INFINITY))


def range_in_use(pid: int, until: Callable[[], bool]) -> tuple[int, int]:
    """The least and the most that a process uses until something happens."""
    sizes = [in_use(pid)]
    while not until():
        sizes.append(in_use(pid))
        time.sleep(0.002)
    sizes = [size for size in sizes if size]
    return min(sizes), max(sizes)


class Search:
    """A search that runs, as its ledger shows it."""

    def __init__(self, storage: Path, *settings: str) -> None:
        self.storage, self.file = storage, storage / "exp4" / "events.jsonl"
        self.process = subprocess.Popen(
            command(storage, *settings), cwd=REPOSITORY, env=ENVIRONMENT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def count(self, kind: str) -> int:
        return self.file.read_text().count(f'"kind":"{kind}"') if self.file.exists() else 0

    def has(self, kind: str, count: int) -> bool:
        assert self.process.poll() is None, self.process.stdout.read() if self.process.stdout else ""
        return self.count(kind) >= count

    def wait_for(self, kind: str, count: int) -> None:
        deadline = time.time() + 300
        while not self.has(kind, count):
            assert time.time() < deadline, f"{kind}: {self.count(kind)} of {count}"
            time.sleep(0.02)

    def limit_ranks(self, size: int) -> None:
        for rank in ranks(psutil.Process(self.process.pid)):
            with suppress(ProcessLookupError):
                limit(rank.pid, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)

    def end(self) -> tuple[dict[str, Any], list[Event]]:
        output, _ = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, output
        summary = json.loads((self.storage / "exp4" / "summary.json").read_text())
        return summary, list(read_events(self.file))


def losses(past: list[Event], trial: int) -> dict[int, float]:
    mine = [e.report for e in past if isinstance(e, Reported) and e.report.trial == trial]
    return {point.tokens_seen: point.loss for report in mine for point in report.points}


@pytest.mark.slow
def test_a_full_memory_halves_the_micro_batch_and_changes_no_step(
    own_dialogues: Path, tmp_path: Path
) -> None:
    settings = (f"data.sources={own_dialogues}", *SETTINGS)
    run(tmp_path / "whole", *settings, "budget.trials=1")
    whole = list(read_events(tmp_path / "whole" / "exp4" / "events.jsonl"))

    with Search(tmp_path / "parts", *settings, "budget.trials=3") as search:
        search.wait_for("Reported", 2)
        (rank,) = ranks(psutil.Process(search.process.pid))
        least, most = range_in_use(rank.pid, lambda: search.has("Reported", 5))
        assert most - least > 50 * MIB, "the micro-batch is what needs the memory"
        limit(rank.pid, least + (most - least) * 3 // 4)
        search.wait_for("Ended", 1)
        while not search.has("Ended", 2):  # a rank may die of so little, and its successor is as poor
            search.limit_ranks(least + (most - least) // 16)  # an eighth of the tokens still needs more
            time.sleep(0.05)
        search.limit_ranks(resource.RLIM_INFINITY)
        summary, past = search.end()

    first, second, third, *_ = summary["trials"]  # failed values get another trial
    assert first["status"] == "finished"
    assert [retry["cause"] for retry in first["retries"]] == ["out_of_memory"]
    told = first["retries"][0]["told"]
    assert f"tried again with engine.max_tokens_per_micro_batch = {HALF} instead of {FULL}" in told
    retried = [event for event in past if isinstance(event, Retried) and event.trial == 0]
    assert [(event.cause, event.told) for event in retried] == [("out_of_memory", told)]
    tags = Sent(f"sqlite:///{tmp_path / 'parts' / 'mlflow.db'}", "exp4").run("exp4-0000").data.tags
    assert (tags["retries"], tags["last_fault"]) == ("1 out_of_memory", told)
    undisturbed, disturbed = losses(whole, 0), losses(past, 0)
    assert disturbed.keys() == undisturbed.keys()
    assert all(math.isclose(disturbed[k], undisturbed[k], rel_tol=1e-5) for k in undisturbed)

    assert second["status"] == "failed"
    assert second["reason"].startswith("out of memory even with the smallest micro-batch")
    causes = [retry["cause"] for retry in second["retries"]]
    assert causes.count("out_of_memory") == 3, "4096, 2048, 1024 and 512 tokens were tried"
    assert set(causes) <= {"out_of_memory", "lost", "died"}, "Ray's own threads get no memory either"
    assert third["status"] != "failed", "the search goes on"
    assert summary["status"] == "finished"
