"""A Ray cluster of several machines on this one, and a search that runs on it."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from search.data import prepared_data
from search.events import Ended, Event, Reported, TrialStarted
from search.halving import with_rungs
from search.ledger import read_events
from spaces.load import load_experiment
from spaces.override import override
from spaces.space import apply
from tests.chaos.expected import expected_reports
from tests.chaos.test_tracking_server import free_port
from tests.integration.commands import REPOSITORY, SMALL, command

SMALL_NODE = {"node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20}
PATIENCE_S = 240.0


class Search:
    """A command that searches, watched through its ledger."""

    def __init__(self, cluster: Cluster, storage: Path, settings: tuple[str, ...]) -> None:
        self.storage, self.settings = storage, settings
        self.log = storage.with_suffix(".log").open("w+")
        self.process = subprocess.Popen(
            [*command(storage, *settings), "--address", cluster.address],
            cwd=REPOSITORY, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def events(self) -> list[Event]:
        ledger = self.storage / "exp4" / "events.jsonl"
        return list(read_events(ledger)) if ledger.exists() else []

    def tokens(self, trial: int) -> list[int]:
        """The tokens seen at each report of a trial, in the order in which they were written down."""
        reports = [event.report for event in self.events() if isinstance(event, Reported)]
        return [report.tokens_seen for report in reports if report.trial == trial]

    def wait_until(self, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)

    def end(self) -> None:
        """Wait for the end and check that every trial left every report up to its last one, each once."""
        assert self.process.wait(PATIENCE_S) == 0, self.said()
        experiment = with_rungs(override(load_experiment("exp4", "laptop"), [*SMALL, *self.settings]))
        prepared = prepared_data(experiment.base, self.storage)
        ends = [event.outcome for event in self.events() if isinstance(event, Ended)]
        finished = {outcome.trial for outcome in ends if outcome.status == "finished"}
        for begun in self.events():
            if isinstance(begun, TrialStarted):
                config = apply(experiment.base, dict(begun.params))
                seen, expected = self.tokens(begun.trial), list(expected_reports(config, prepared))
                assert seen == (expected if begun.trial in finished else expected[: len(seen)])

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()


@contextmanager
def searching(cluster: Cluster, storage: Path, *settings: str) -> Iterator[Search]:
    """Run a search that seldom halves within the block; whatever is left of it then is killed."""
    search = Search(cluster, storage, ("halving.eta=1000", "data.clean.near_duplicates=false", *settings))
    try:
        yield search
    finally:
        search.process.kill()
        search.process.wait()
        search.log.close()


@contextmanager
def machines() -> Iterator[Cluster]:
    """A cluster whose head has no CPUs, as yet without another machine; on loopback, and in a folder of its
    own, for other commands take a cluster that is named in Ray's usual one for theirs."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv(
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
        )  # else Ray takes loopback for the host's address
        head = {
            **SMALL_NODE,
            "num_cpus": 0,
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "dashboard_port": free_port(),
        }
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield cluster
        finally:
            cluster.shutdown()


def add(cluster: Cluster) -> Any:
    """Add a machine with one CPU to the cluster; return what takes it away again."""
    return cluster.add_node(num_cpus=1, **SMALL_NODE)


def drain(cluster: Cluster, node_id: str, seconds: int) -> None:
    """Announce that a machine will be taken away, as a cloud does for one that it sold below its price."""
    tool = Path(sys.executable).with_name("ray")
    reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the owner wants it back")
    wait = ("--deadline-remaining-seconds", str(seconds))
    node = ("--address", cluster.address, "--node-id", node_id)
    subprocess.run([str(tool), "drain-node", *node, *reason, *wait], check=True, timeout=60)
