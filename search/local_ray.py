"""Connect to Ray: a running cluster, or one that this command starts on this machine and stops again."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.cluster import local_machine
from train_fn.errors import InputError

_OBJECT_STORE_BYTES = 128 * 2**20
_PORT = "RAY_GCS_SERVER_PORT"
"""Read by Ray 2.60 (`ray._private.node`): the port of the control store that it starts."""
_ADDRESS = "RAY_ADDRESS"
"""Which Ray the State API asks, whatever its argument; without it two Rays on a machine are an error."""
_WORKER_ENVIRONMENT = (
    "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "RAY_TRAIN_V2_ENABLED", "RAY_CHDIR_TO_TRIAL_DIR",
    "DS_ACCELERATOR", "DS_IGNORE_CUDA_DETECTION", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE",
)  # fmt: skip


@dataclass(frozen=True)
class RayInstance:
    """The Ray that serves a command."""

    session: str
    """Folder of the Ray that was started here; empty for a cluster that ran before."""
    control_store: str
    """`host:port`."""
    job: str
    """The command's job on it."""
    cluster: str = ""
    """Name of its session: another one after a restart, which counts jobs from the beginning."""


@contextmanager
def connected(address: str) -> Iterator[RayInstance]:
    """Keep Ray connected within the block.

    Args:
        address: Of a running cluster; empty starts Ray here, listening on loopback only, and ends it after.

    Raises:
        InputError: There is no cluster at the address, or it is none.
    """
    import ray

    environment = {name: os.environ[name] for name in _WORKER_ENVIRONMENT if name in os.environ}
    if not address:
        os.environ[_PORT] = str(_free_port())
    # Ray's own clean-up of a dead trial asks for "the" Ray of the machine and gives up where there are two.
    environment[_ADDRESS] = address or f"127.0.0.1:{os.environ[_PORT]}"
    shared = {
        "runtime_env": {"env_vars": environment},
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            context = ray.init(address=address, **shared)
        else:
            context = ray.init(
                address="local",
                num_cpus=int(local_machine().nodes[0].cpus),
                include_dashboard=True,  # without it Train's clean-up has no State API, and the search hangs
                dashboard_host="127.0.0.1",
                object_store_memory=_OBJECT_STORE_BYTES,
                **shared,
            )
    except ConnectionError as error:
        raise InputError(
            f"--address {address!r}: no Ray cluster answers ({error}); start it with `ray up`"
        ) from None
    except ValueError as error:
        if not address:
            raise
        why = str(error).partition(". ")[0]  # Ray adds what to do about an http address in other programs
        raise InputError(
            f"--address {address!r} is none of a Ray cluster ({why}); write host:port, such as 10.0.0.7:6379"
        ) from None
    if callable(on_sigterm):  # Ray has set its own, which exits at once and sums up nothing
        signal.signal(signal.SIGTERM, on_sigterm)
    logging.getLogger("ray").setLevel(logging.ERROR)
    control_store, given = str(context.address_info["gcs_address"]), os.environ.get(_ADDRESS)
    os.environ[_ADDRESS] = control_store
    try:
        yield RayInstance(
            session="" if address else str(context.address_info["session_dir"]),
            control_store=control_store,
            job=ray.get_runtime_context().get_job_id(),
            cluster=Path(str(context.address_info["session_dir"])).name,
        )
    finally:
        if given is None:
            del os.environ[_ADDRESS]
        else:
            os.environ[_ADDRESS] = given
        ray.shutdown()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
