"""Give back what a worker group reserved when its controller died before it was known.

Ray Train's controller reserves a placement group, starts the ranks in it, and tells the cleaner that
outlives it only afterwards (ray 2.60.0, `PlacementGroupCleanerCallback.after_worker_group_start`). A
controller that is killed in between leaves the group reserved until the command ends, and on a full cluster
the worker group that takes its place would wait for ever.
"""

import logging
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.state import list_actors, list_placement_groups
from ray.util.state.exception import RayStateApiException

from train_fn.repeated import repeated

LOOK_S = 5.0
UNUSED_S = 15.0
"""Ranks are asked for within milliseconds after their group was reserved."""
_LIMIT = 10_000
"""The most that Ray's state API lists."""
logger = logging.getLogger(__name__)


@contextmanager
def giving_back() -> Iterator[None]:
    """Look every `LOOK_S` within the block for groups of this job that nobody uses, and remove them."""
    since: Mapping[str, float] = {}

    def look(_: threading.Event) -> None:
        nonlocal since
        try:
            since = unused_since(since, unused_groups(), time.monotonic())
        except (RayStateApiException, ConnectionError) as error:
            # The dashboard is busy, or away: the next look will tell.
            logger.info("placement groups were not listed: %s", error)
            return
        for group in stranded(since, time.monotonic()):
            logger.warning("a worker group's controller died; what it had reserved is given back")
            _remove(group)

    with repeated(look, LOOK_S, "stranded-groups"):
        yield


def unused_since(before: Mapping[str, float], unused: Collection[str], now: float) -> Mapping[str, float]:
    """Return since when each group is unused.

    Args:
        before: What the look before this one returned.
        unused: Groups without a process now.
        now: Seconds of a clock that never goes back.
    """
    return {group: before.get(group, now) for group in unused}


def stranded(since: Mapping[str, float], now: float) -> list[str]:
    """Return the groups that have been unused for too long to be just starting."""
    return [group for group, began in since.items() if now - began >= UNUSED_S]


def unused_groups() -> set[str]:
    """Return the placement groups of this job for ranks (they take CPUs or GPUs) in which no actor lives.

    Raises:
        RayStateApiException: Ray's dashboard does not answer.
        ConnectionError: Ray does not say where its dashboard is.
    """
    job = ray.get_runtime_context().get_job_id()
    ours = [("creator_job_id", "=", job), ("state", "=", "CREATED")]
    reserved = {
        group.placement_group_id
        for group in list_placement_groups(filters=ours, limit=_LIMIT, detail=True)
        if _for_ranks(group.bundles or [])
    }
    if not reserved:
        return set()
    alive = [("job_id", "=", job), ("state", "!=", "DEAD")]
    return reserved - {
        actor.placement_group_id for actor in list_actors(filters=alive, limit=_LIMIT, detail=True)
    }


def _for_ranks(bundles: Collection[Mapping[str, Any]]) -> bool:
    return any({"CPU", "GPU"} & bundle["unit_resources"].keys() for bundle in bundles)


def _remove(group: str) -> None:
    remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))
