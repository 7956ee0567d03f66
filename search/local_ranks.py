"""How the ranks of a slot find each other when all of them run on this machine: through a file.

Ray Train has them meet at a port of rank 0 (`ray.train.torch.config._TorchBackend`, ray 2.60.0), which torch
opens on every interface and to everybody. Imports torch, which the command itself does without.
"""

import os
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

_ON_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Read by the collectives, which listen too."""


class LocalTorchConfig(TorchConfig):  # type: ignore[misc]
    """A process group that listens on loopback alone."""

    @property
    def backend_cls(self) -> type["_LocalBackend"]:
        """Return what connects the ranks."""
        return _LocalBackend


class _LocalBackend(_TorchBackend):  # type: ignore[misc]
    """Connects the ranks of one worker group; Ray Train makes one for each."""

    def __init__(self) -> None:
        self._meeting = Path(tempfile.gettempdir()) / f"ranks-{uuid4().hex}"

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Set up the process group of ranks that have started."""
        worker_group.execute(_set_torch_distributed_env_vars)
        worker_group.execute(_listen_on_loopback)
        self._meeting.unlink(missing_ok=True)  # of a group before: torch would take it for this one's
        size = len(worker_group)
        ray.get([
            worker_group.execute_single_async(
                rank, _setup_torch_process_group, backend=backend_config.backend, world_rank=rank,
                world_size=size, init_method=f"file://{self._meeting}", timeout_s=backend_config.timeout_s,
            )
            for rank in range(size)
        ])  # fmt: skip

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Take the process group down."""
        try:
            super().on_shutdown(worker_group, backend_config)
        finally:
            self._meeting.unlink(missing_ok=True)


def _listen_on_loopback() -> None:
    for name, interface in _ON_LOOPBACK.items():
        os.environ.setdefault(name, interface)
