"""Room on the disk while a search runs: no trial is handed out that might fill it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from search.cluster import GIB
from search.costs import Disk
from search.events import Paused, Resumed
from search.recorder import Recorder

UNKNOWN_GIB = 1.0
"""Asked for when nobody knows the model's size."""
MARGIN_GIB = 0.03
"""For the ledger, the study and the figures."""


def needed_gib(disk: Disk | None, slots: int) -> float:
    """Return the room that must be free before another trial starts.

    Each slot may be about to write a checkpoint beside its old one, the new trial writes its first, and at
    its end its weights.
    """
    return MARGIN_GIB + (
        UNKNOWN_GIB if disk is None else (slots + 1) * disk.checkpoint_gib + disk.weights_gib
    )


def room_watch(folder: Path, needed: float, recorder: Recorder) -> Callable[[], bool]:
    """Return what tells whether there is room for another trial.

    When there is none any more, and when there is again, it writes so into the ledger.

    Args:
        folder: On the disk that is meant.
        needed: GiB that must be free.
        recorder: Of the search.
    """

    def has_room() -> bool:
        free = shutil.disk_usage(folder).free / GIB
        if free < needed and not recorder.state.paused:
            recorder.record(Paused(time.time(), free, needed))
        elif free >= needed and recorder.state.paused:
            recorder.record(Resumed(time.time(), free))
        return free >= needed

    return has_room
