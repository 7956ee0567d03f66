"""What the ranks of a trial tell each other, as Python values."""

from typing import Any

from torch import distributed


def from_rank_0(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    if distributed.get_world_size() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def from_all_ranks(value: Any) -> list[Any]:
    """Return every rank's value, in the order of ranks, on every rank."""
    if distributed.get_world_size() == 1:
        return [value]
    box: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(box, value)
    return box
