"""Whether every node that may run trials sees the storage: asked of the nodes, for a path says nothing."""

import uuid
from pathlib import Path

import ray

from search.machines import ask, living_nodes, probed
from search.node_probe import write_small
from search.storage import existing_parent
from train_fn import object_store
from train_fn.errors import InputError
from train_fn.working_copy import is_address, shown


def check_shared(storage: Path) -> None:
    """Refuse storage that a node of the connected cluster does not see.

    Args:
        storage: The storage folder, which need not exist yet, or the working copy of a store.

    Raises:
        InputError: A node does not see what this machine writes there, or cannot run the project.
    """
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in living_nodes() if node["Resources"].get("CPU", 0) and node["NodeID"] != here]
    if not others:
        return
    machines, absent = probed(others)
    if absent:
        raise InputError(f"{absent}; install the project on every node (python -m search.doctor tells more)")
    name, told = f".seen-{uuid.uuid4().hex[:8]}", shown(storage)
    where = told if is_address(told) else str(existing_parent(storage).resolve())
    refused = write_small(where, name)
    if refused:
        raise InputError(f"--storage {told!r} cannot be written here ({refused}); make it possible")
    try:
        unseen = ask(machines, lambda probe: probe.unseen.remote(where, [name]))
    finally:
        if is_address(where):
            object_store.remove(where, name)
        else:
            (Path(where) / name).unlink()
    blind = [node for node, names in unseen.items() if names]
    if not blind:
        return
    if is_address(told):
        raise InputError(
            f"--storage {told!r} is not read on node {blind[0]}; give every node the way there and the "
            "credentials (such as AWS_ACCESS_KEY_ID) in its environment"
        )
    raise InputError(
        f"--storage {told!r} is a folder of this machine alone: node {blind[0]} does not see it; give a "
        "folder that all nodes share, or an address such as s3://bucket/path"
    )
