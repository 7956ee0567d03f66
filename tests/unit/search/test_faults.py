from dataclasses import replace
from typing import get_args

import pytest
import torch

from search.faults import (
    MAX_SKIPPED_STEPS,
    Cause,
    Fault,
    cause_of_loss,
    died_early,
    explaining,
    fault_of,
    gave_up,
    remedy,
)
from train_fn.assignment import Assignment, Failure
from train_fn.config import DataConfig, EngineConfig, TrainConfig

CONFIG = TrainConfig(
    data=DataConfig(max_example_tokens=300), engine=EngineConfig(max_tokens_per_micro_batch=1000)
)
FIRST = Assignment(1, 7, CONFIG, "data", "workspace", "cache", 0.0)
DIED = "The actor died. (1) The process is killed by SIGKILL by OOM killer due to high memory usage."


def fault(cause: Cause, steps: int = 3, place: int | None = 24) -> Fault:
    return Fault(cause, f"it was {cause}", steps, place)


@pytest.mark.parametrize(
    ("kinds", "told", "steps", "cause"),
    [
        (("OutOfMemoryError", "RuntimeError"), "OutOfMemoryError: CUDA out of memory.", 3, "out_of_memory"),
        (("RuntimeError",), "DefaultCPUAllocator: can't allocate memory: you tried", 3, "out_of_memory"),
        (("OSError",), "OSError: [Errno 12] Cannot allocate memory", 3, "out_of_memory"),
        (("RuntimeError",), "[gloo/transport/tcp/pair.cc:547] Connection closed by peer", 3, "collective"),
        (("DistBackendError", "RuntimeError"), "NCCL communicator was aborted", 3, "collective"),
        (("IndexError", "LookupError"), "IndexError: index out of range in self", 3, "unknown"),
        (("KeyError",), "KeyError: 'timed out'", 3, "unknown"),
        (("ValidationError", "ValueError"), "1 validation error for DeepSpeedZeroConfig", 0, "config"),
        (("ValueError",), "ValueError: report of trial 7: loss is not finite", 3, "unknown"),
    ],
)
def test_an_exception_tells_its_cause(kinds: tuple[str, ...], told: str, steps: int, cause: Cause) -> None:
    assert fault_of(Failure(0, kinds, told, steps, None)).cause == cause


@pytest.mark.parametrize(
    ("text", "oom_killed", "cause"),
    [
        (DIED, False, "died"),
        (DIED, True, "out_of_memory"),
        ("Task was killed due to the node running low on memory.", False, "out_of_memory"),
        ("The actor died because its node has died. Node Id: 5f", False, "lost"),
        ("the actor's node was preempted: by its owner", True, "lost"),
        ("The actor 2df2 is unavailable: The actor is temporarily unavailable: RpcError", False, "lost"),
    ],
)
def test_a_death_tells_its_cause(text: str, oom_killed: bool, cause: Cause) -> None:
    assert cause_of_loss(text, oom_killed) == cause


RAISED = """\x1b[36mray::LoneRank.train()\x1b[39m (pid=10, ip=192.0.2.2)
  File "engine.py", line 7, in <module>
ImportError: libaio.so.1 is not there

The above exception was the direct cause of the following exception:

\x1b[36mray::LoneRank.train()\x1b[39m (pid=10, ip=192.0.2.2)
  File "worker.py", line 7, in work
deepspeed.ops.BuildError: no kernels
in two lines"""
VANISHED = "The actor died unexpectedly before finishing this task.\n\tclass_name: LoneRank\n\tpid: 10"


@pytest.mark.parametrize(
    ("deaths", "told"),
    [
        ({1: VANISHED, 0: RAISED}, "deepspeed.ops.BuildError: no kernels"),
        ({1: VANISHED}, "The actor died unexpectedly before finishing this task."),
        ({0: ""}, "a rank died"),
        ({0: RAISED, 1: "The actor died because its node has died."}, ""),
        ({}, ""),
    ],
)
def test_an_early_death_is_told_in_one_line(deaths: dict[int, str], told: str) -> None:
    assert died_early(deaths) == told


def test_what_torch_says_when_memory_is_full_is_understood() -> None:
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**60, dtype=torch.uint8)
    kinds = tuple(kind.__name__ for kind in type(full.value).__mro__)
    assert fault_of(Failure(0, kinds, str(full.value), 3, 24)).cause == "out_of_memory"
    on_a_gpu = tuple(kind.__name__ for kind in torch.OutOfMemoryError.__mro__)
    assert fault_of(Failure(0, on_a_gpu, "", 3, 24)).cause == "out_of_memory"
    assert [fault_of(Failure(0, names, "", 3, 24)).gpu_full for names in (kinds, on_a_gpu)] == [False, True]


def test_of_what_happens_together_the_cause_is_named_and_not_its_consequences() -> None:
    every = [fault(cause) for cause in reversed(get_args(Cause))]
    assert explaining(every).cause == "config"
    assert explaining([fault("collective"), fault("unknown"), fault("died")]).cause == "unknown"


def test_memory_is_halved_down_to_the_longest_example_and_then_given_up() -> None:
    sizes, assignment, faults = [], FIRST, []
    while True:
        faults.append(fault("out_of_memory"))
        found = remedy(assignment, faults)
        if found is None:
            break
        assignment = found[0]
        sizes.append(assignment.config.engine.max_tokens_per_micro_batch)
    assert sizes == [500, 300]
    assert replace(assignment.config, engine=CONFIG.engine) == CONFIG, "nothing else has changed"
    assert gave_up(faults).startswith("out of memory even with the smallest micro-batch")


def test_a_wrong_setting_is_not_tried_twice() -> None:
    assert remedy(FIRST, [fault("config")]) is None
    assert gave_up([fault("config")]) == "it was config"


def test_lost_machines_are_never_held_against_a_trial() -> None:
    assert remedy(FIRST, [fault("lost")] * 50) == (FIRST, "tried again")
    assert remedy(FIRST, [*[fault("lost")] * 50, fault("hang")]) is not None


@pytest.mark.parametrize("cause", ["hang", "collective", "died", "unknown"])
def test_three_attempts_in_a_row_may_fail_without_progress(cause: Cause) -> None:
    faults = [fault(cause, steps=3, place=None)] * 3
    assert remedy(FIRST, faults[:2]) == (FIRST, "tried again")
    assert remedy(FIRST, faults) is None
    assert gave_up(faults) == f"given up after 3 attempts ({cause}, {cause}, {cause}): it was {cause}"
    assert remedy(FIRST, [*faults[:2], fault(cause, steps=4, place=32)]) is not None


def test_the_second_fault_in_a_step_leaves_its_examples_out() -> None:
    once = [fault("unknown", 3, 24)]
    assert remedy(FIRST, once) == (FIRST, "tried again")
    found = remedy(FIRST, [*once, fault("hang", 3, 24)])
    assert found is not None
    assert found[0].skip == (24,)
    assert "its 64 examples are left out" in found[1]
    later = remedy(found[0], [*once, fault("hang", 3, 24), fault("unknown", 9, 80)])
    assert later == (found[0], "tried again")
    assert remedy(found[0], [*once, fault("hang", 3, 24), fault("unknown", 3, 88)]) is None, (
        "it is not the data"
    )


def test_lost_machines_and_full_memory_make_no_step_a_poisoned_one() -> None:
    for cause in ("lost", "out_of_memory"):
        assert remedy(FIRST, [fault(cause), fault("unknown")]) == (FIRST, "tried again")
        found = remedy(FIRST, [fault("unknown"), fault(cause)])
        assert found is not None
        assert not found[0].skip


def test_data_that_is_broken_everywhere_is_not_skipped_for_ever() -> None:
    skipped = replace(FIRST, skip=tuple(range(0, MAX_SKIPPED_STEPS * 64, 64)))
    assert remedy(skipped, [fault("unknown", 90, 9000), fault("unknown", 90, 9000)]) is None
