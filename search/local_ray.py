"""Connect to Ray: a running cluster, or one that this command starts on this machine and stops again."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from search.cluster import local_machine
from train_fn.errors import InputError

_OBJECT_STORE_BYTES = 128 * 2**20
_WORKER_ENVIRONMENT = (
    "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "RAY_TRAIN_V2_ENABLED", "RAY_CHDIR_TO_TRIAL_DIR",
    "DS_ACCELERATOR", "DS_IGNORE_CUDA_DETECTION", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE",
)  # fmt: skip


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Keep Ray connected within the block.

    Args:
        address: Of a running cluster; empty starts Ray here, listening on loopback only, and ends it after.

    Raises:
        InputError: There is no cluster at the address.
    """
    import ray

    environment = {name: os.environ[name] for name in _WORKER_ENVIRONMENT if name in os.environ}
    shared = {
        "runtime_env": {"env_vars": environment},
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    try:
        if address:
            ray.init(address=address, **shared)
        else:
            cores = int(local_machine().nodes[0].cpus)
            ray.init(
                address="local",
                num_cpus=cores + 1,  # one more than there are: slot actors only wait
                include_dashboard=True,  # without it Train's clean-up has no State API, and the search hangs
                dashboard_host="127.0.0.1",
                object_store_memory=_OBJECT_STORE_BYTES,
                **shared,
            )
    except ConnectionError as error:
        raise InputError(
            f"--address {address!r}: no Ray cluster answers ({error}); start it with `ray up`"
        ) from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
