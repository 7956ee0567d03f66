"""What a full or broken disk looks like, and how it is told."""

import contextlib
import shutil
from pathlib import Path

from safetensors import SafetensorError

DISK_ERRORS = (OSError, SafetensorError)
"""What a write raises there: safetensors does not raise `OSError`."""


def is_full(error: Exception) -> bool:
    """Whether a write failed for the disk; `tokenizers` raises an `Exception` that only says so."""
    return isinstance(error, DISK_ERRORS) or "(os error " in str(error)


def unwritten(what: str, below: Path, error: Exception) -> str:
    """Say in one line what the disk did not take, with the room that is left there.

    Args:
        what: As the beginning of a sentence.
        below: The folder it should have been written below; need not exist.
        error: What the write raised.
    """
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    there = next(folder for folder in (below, *below.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free / 2**20
    told = f"{what} cannot be written below {below}: {first_line} ({free:,.0f} MiB are free there)"
    return f"{told}; make room and start again"


def share_weights(folder: Path) -> None:
    """Give weights in a model's folder the mode of its `config.json`: safetensors hides them from others."""
    for weights in folder.rglob("*.safetensors"):
        share(weights, folder / "config.json")


def share(weights: Path, like: Path) -> None:
    """Give weights the mode of another file, where the file system has modes: no trial is lost for that."""
    with contextlib.suppress(OSError):
        shutil.copymode(like, weights)
