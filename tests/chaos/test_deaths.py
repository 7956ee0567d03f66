"""What Ray says when a process or its machine dies, and what we read from it."""

import os
import signal
import time

import pytest
import ray

from search.faults import Cause, cause_of_loss
from tests.chaos.machines import add, machines


class Worker:
    def pid(self) -> int:
        return os.getpid()

    def sleep(self) -> None:
        time.sleep(1000)


@pytest.mark.slow  # a machine counts as dead after several seconds
@pytest.mark.parametrize("cause", ["died", "lost"])
def test_a_dead_process_is_told_from_a_dead_machine(cause: Cause) -> None:
    with machines() as cluster:
        ray.init(address=cluster.address, log_to_driver=False)
        try:
            machine = add(cluster)
            worker = ray.remote(num_cpus=1)(Worker).remote()
            pid, answer = ray.get(worker.pid.remote()), worker.sleep.remote()
            if cause == "lost":
                cluster.remove_node(machine, allow_graceful=False)
            else:
                os.kill(pid, signal.SIGKILL)
            with pytest.raises(ray.exceptions.RayActorError) as death:
                ray.get(answer, timeout=120)
            assert cause_of_loss(str(death.value), False) == cause
        finally:
            ray.shutdown()
