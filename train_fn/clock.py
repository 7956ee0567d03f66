"""The stopwatch of a trial: at every moment exactly one part of it runs, so the parts add up to the whole.

Switching from one part to the next reads the host's clock, and waits for nothing. On a GPU the host only
launches the work of a step, so its clock would tell when kernels were queued, and count the wait for all of
them where the host happens to need a result. There each switch also records a CUDA event, which costs the
host a microsecond or two. The events are read once per window, when the device is through with them, and what
the host spent on data, forward, backward and step is shared out as the device's own time says (CUDA runtime
API, `cudaEventElapsedTime`; `torch.cuda.Event`).
"""

import time
from itertools import pairwise
from typing import Any

import torch

from train_fn.times import PARTS, Part, Times

_ON_DEVICE: tuple[Part, ...] = ("data", "forward", "backward", "step")
"""Parts that the host queues and the device does."""


class Clock:
    """Says what a trial spends its time on; belongs to the thread that trains.

    Args:
        began: `time.time()` at which the trial was assigned, perhaps in another process; None is now. Until
            the first switch the part `start` runs.
    """

    def __init__(self, began: float | None = None) -> None:
        self._since = time.perf_counter()
        self._part: Part = "start"
        self._spent: dict[Part, float] = dict.fromkeys(PARTS, 0.0)
        if began is not None:
            self._spent["start"] = max(0.0, time.time() - began)
        self._device: torch.device | None = None
        self._queued: dict[Part, float] = dict.fromkeys(_ON_DEVICE, 0.0)
        """What the host spent on a step's parts since the last `settle`; not yet in `_spent`."""
        self._events: list[tuple[Part, Any]] = []

    def at(self, part: Part) -> None:
        """End the part that runs, and begin another one."""
        now = time.perf_counter()
        if self._device is None:
            self._spent[self._part] += now - self._since
        else:
            self._switch_on_device(part, now - self._since)
        self._part, self._since = part, now

    def follow(self, device: torch.device) -> None:
        """Measure the parts of a step on this device from now on; on a CPU the host's clock says it all."""
        if device.type == "cuda":
            self.at(self._part)
            self._device = device

    def settle(self) -> None:
        """Share out what the host spent on steps since the last call, as the device says.

        Call it when the device has nothing left to do: it waits for it. On a CPU it does nothing.
        """
        if self._device is None:
            return
        self.at(self._part)
        end = self._record()
        end.synchronize()
        marks = [*self._events, (self._part, end)]
        device_ms = dict.fromkeys(_ON_DEVICE, 0.0)
        for (part, begin), (_, until) in pairwise(marks):
            if part in device_ms:
                device_ms[part] += begin.elapsed_time(until)
        for part, seconds in shared_out(self._queued, device_ms).items():
            self._spent[part] += seconds
        self._queued = dict.fromkeys(_ON_DEVICE, 0.0)
        self._events = [(self._part, end)]

    def add(self, before: Times) -> None:
        """Add what the attempts before this one spent, up to the checkpoint it goes on from."""
        for part in PARTS:
            self._spent[part] += before.of(part)

    def times(self) -> Times:
        """Return what was spent so far."""
        self.at(self._part)
        queued = {part: self._spent[part] + self._queued.get(part, 0.0) for part in PARTS}
        return Times(**{f"{part}_s": seconds for part, seconds in queued.items()})

    def _switch_on_device(self, part: Part, seconds: float) -> None:
        spent = self._queued if self._part in self._queued else self._spent
        spent[self._part] += seconds
        if part != self._part and (part in self._queued or self._part in self._queued):
            self._events.append((part, self._record()))

    def _record(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event


def shared_out(host_s: dict[Part, float], device_ms: dict[Part, float]) -> dict[Part, float]:
    """Return the host's seconds, shared out in the proportions of the device's time.

    Their sum stays what it is. Where the device did nothing the host's own figures stand.
    """
    whole_s, whole_ms = sum(host_s.values()), sum(device_ms.values())
    if whole_ms <= 0:
        return dict(host_s)
    return {part: whole_s * ms / whole_ms for part, ms in device_ms.items()}
