import time
from dataclasses import dataclass

import pytest
import torch

from train_fn.clock import Clock, shared_out
from train_fn.times import PARTS, Times


def test_the_parts_are_the_time_since_it_began_and_nothing_else() -> None:
    before = time.perf_counter()
    clock = Clock()
    began = time.perf_counter()
    for part in PARTS:
        clock.at(part)
        time.sleep(0.002)
    inside = time.perf_counter() - began
    times = clock.times()
    assert inside <= times.total_s <= time.perf_counter() - before
    assert all(times.of(part) >= 0.002 for part in PARTS if part != "start")


def test_the_part_that_runs_counts_up_to_now() -> None:
    clock = Clock()
    clock.at("forward")
    first = clock.times()
    time.sleep(0.002)
    second = clock.times()
    assert second.forward_s >= first.forward_s + 0.002
    assert second.total_s - first.total_s == pytest.approx(second.forward_s - first.forward_s)


def test_the_wait_for_a_slot_is_start_up() -> None:
    assert Clock(time.time() - 7).times().start_s >= 7
    assert Clock(time.time() + 100).times().start_s < 100, "clocks of two machines may differ"


def test_earlier_attempts_are_added_part_by_part() -> None:
    before = Times(start_s=1, forward_s=20, checkpoint_s=0.5)
    clock = Clock()
    clock.add(before)
    clock.at("forward")
    times = clock.times()
    assert times.forward_s >= 20
    assert times.checkpoint_s == 0.5
    assert times.total_s >= before.total_s


def test_the_devices_time_shares_out_what_the_host_spent() -> None:
    host = {"data": 1.0, "forward": 0.5, "backward": 0.5, "step": 8.0}
    device = {"data": 100.0, "forward": 300.0, "backward": 500.0, "step": 100.0}
    found = shared_out(host, device)  # type: ignore[arg-type]
    assert found == pytest.approx({"data": 1.0, "forward": 3.0, "backward": 5.0, "step": 1.0})
    assert shared_out(host, dict.fromkeys(device, 0.0)) == host  # type: ignore[arg-type]


@dataclass
class Mark:
    """An event as CUDA records it: where the device was."""

    ms: float

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: "Mark") -> float:
        return end.ms - self.ms


def test_events_on_a_device_say_how_a_window_was_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    # The device takes a millisecond for each part; the host queues them at once and waits in the last one.
    at = iter([0.0, 1.0, 2.0, 3.0, 4.0, 54.0, 55.0, 60.0])
    monkeypatch.setattr(Clock, "_record", lambda self: Mark(next(at)))
    clock = Clock()
    clock.at("weights")
    clock.follow(torch.device("cuda"))
    for part in ("data", "forward", "backward", "step"):
        clock.at(part)  # type: ignore[arg-type]
    time.sleep(0.004)
    told = clock.times()
    assert told.step_s >= 0.004 > told.forward_s, "until the window is over the host's clock is all there is"
    clock.settle()
    settled = clock.times()
    assert settled.total_s >= told.total_s
    parts = [settled.data_s, settled.forward_s, settled.backward_s]
    assert parts == pytest.approx([parts[0]] * 3)
    assert sum(parts) > 0.0025
    clock.at("evaluate")
    clock.at("forward")
    clock.at("step")
    assert clock.times().evaluate_s < 0.05, "an evaluation is measured by the host"


def test_a_cpu_needs_no_events() -> None:
    clock = Clock()
    clock.follow(torch.device("cpu"))
    clock.at("forward")
    clock.settle()
    assert clock.times().forward_s > 0


@pytest.mark.gpu
def test_a_gpu_tells_forward_from_backward_although_the_host_runs_ahead() -> None:
    device = torch.device("cuda")
    clock = Clock()
    clock.follow(device)
    big = torch.randn(4096, 4096, device=device)
    torch.cuda.synchronize()
    for part, rounds in (("data", 0), ("forward", 10), ("backward", 20), ("step", 0)):
        clock.at(part)  # type: ignore[arg-type]
        for _ in range(rounds):
            big = big @ big / 64
    clock.settle()
    times = clock.times()
    assert times.backward_s == pytest.approx(2 * times.forward_s, rel=0.2)
    assert times.step_s < times.forward_s
