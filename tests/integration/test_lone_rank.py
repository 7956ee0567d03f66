"""A lone rank under the real Ray: what ends it reaches the mailbox."""

import subprocess
import sys

from tests.integration.commands import REPOSITORY

KILLED_FOR_MEMORY = """
import ray
from search.groups import GroupSettings, run_group
from spaces.experiment import ResourcesConfig

class Told:
    def remote(self, lost):
        print("told:", lost)
        return ray.put(None)

class Mailbox:
    lost = Told()

if __name__ == "__main__":
    # Every process counts as one too many, so the rank is killed while it imports torch.
    limits = {"memory_usage_threshold": 0.0, "memory_monitor_refresh_ms": 50}
    ray.init(address="local", num_cpus=1, log_to_driver=False, _system_config=limits)
    run_group(GroupSettings(ResourcesConfig(cpus_per_rank=1), "", local=True), "group", Mailbox())
"""


def test_the_kill_of_a_lone_rank_by_rays_memory_monitor_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_FOR_MEMORY], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("told: {0: "), done.stdout
    assert "running low on memory" in done.stdout
