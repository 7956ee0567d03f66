"""What the doctor asks of each machine. Runs there, in an actor that takes no CPU."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.cluster import GIB
from search.code_version import code_version
from train_fn import object_store
from train_fn.errors import InputError
from train_fn.working_copy import is_address, local_storage

PACKAGES = ("ray", "torch", "transformers", "deepspeed", "datasets", "optuna", "mlflow", "huggingface_hub")
DISK_BYTES = 64 * 2**20
_DRIVER_TIMEOUT_S = 20.0
_CHUNK = 2**20


@dataclass(frozen=True)
class NodeFacts:
    """What runs on a machine."""

    python: str
    packages: Mapping[str, str]
    """Version of each of `PACKAGES`; one that is not installed is missing."""
    sources: Mapping[str, str]
    """Hash of each of our files that decides figures."""
    driver: str
    """Version of the NVIDIA driver; empty without one."""


@dataclass(frozen=True)
class DiskSpeed:
    """How fast a machine writes to the storage folder and reads from it."""

    write_mib_s: float
    """Until the file system says it is safe (`fsync`)."""
    read_mib_s: float
    """After the file was dropped from the machine's own cache, as far as the file system does that."""
    free_gib: float


class NodeProbe:
    """State of the actor: none; it stays so that questions are answered without a start."""

    def facts(self) -> NodeFacts:
        """Say what is installed here."""
        return NodeFacts(platform.python_version(), _versions(), code_version().sources, _driver())

    def now(self) -> float:
        """Return this machine's clock, in seconds since the epoch."""
        return time.time()

    def write(self, folder: str, name: str) -> str:
        """See `write_small`."""
        return write_small(folder, name)

    def unseen(self, folder: str, names: Sequence[str]) -> list[str]:
        """List which of the files that others wrote are not here, or not whole.

        Args:
            folder: Of a shared file system, or an address on a store.
            names: Of the files.
        """
        return [name for name in names if _content(folder, name) != name]

    def disk(self, folder: str, name: str) -> DiskSpeed:
        """Write a file, read it back, and remove it.

        Args:
            folder: Of a shared file system; of a store's address the working copy here is measured.
            name: Of the file.

        Raises:
            OSError: There is no room, or no right to write.
        """
        here = local_storage(folder)
        file = here / name
        block = os.urandom(_CHUNK)  # not to be compressed away
        try:
            began = time.monotonic()
            with file.open("wb") as out:
                for _ in range(DISK_BYTES // _CHUNK):
                    out.write(block)
                out.flush()
                os.fsync(out.fileno())
            written = time.monotonic()
            with file.open("rb") as back:
                os.posix_fadvise(back.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                began_read = time.monotonic()
                while back.read(_CHUNK):
                    pass
            read = time.monotonic()
        finally:
            file.unlink(missing_ok=True)
        mib = DISK_BYTES / 2**20
        free = shutil.disk_usage(here).free / GIB
        return DiskSpeed(mib / (written - began), mib / (read - began_read), free)


def write_small(folder: str, name: str) -> str:
    """Write a small file whose content is its name; return what went wrong, empty when nothing.

    Args:
        folder: Of a file system, or an address on a store.
        name: Of the file.
    """
    try:
        if is_address(folder):
            object_store.put(folder, name, name.encode())
        else:
            (Path(folder) / name).write_text(name)
    except OSError as error:
        return error.strerror or str(error)
    except InputError as error:
        return str(error)
    return ""


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # told by being missing
    return found


def _driver() -> str:
    """Return the version of the NVIDIA driver, `no answer` where its tool hangs."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_DRIVER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return "no answer"
    lines = done.stdout.split("\n")
    return lines[0].strip() if done.returncode == 0 else "no answer"


def _content(folder: str, name: str) -> str:
    """Return what stands in a file; empty where it cannot be read."""
    try:
        if is_address(folder):
            return (object_store.get(folder, name) or b"").decode(errors="replace")
        return (Path(folder) / name).read_text()
    except (OSError, InputError):
        return ""
