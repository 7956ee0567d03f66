"""What a promotion leaves on the branch beside the weights: `promotion.json`, its record."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from train_fn.errors import InputError
from train_fn.typed import from_plain, load_json

RECORD_NAME = "promotion.json"
WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".msgpack", ".h5")
"""Endings of files that hold weights, ours and those that others may have left on a branch."""


@dataclass(frozen=True)
class PromotionRecord:
    """One promotion. It holds no time, so that the same promotion made twice is the same bytes."""

    trial: str
    """`exp4-0007`."""
    eval_nll: float
    """Of the files as sent, in nats per answer token."""
    base_eval_nll: float | None
    data_key: str
    git_commit: str
    mlflow_run: str | None
    weights: Mapping[str, str]
    """SHA-256 of each file of weights."""
    previous: str | None
    """Commit of the branch that this promotion followed, when it held a promotion itself."""


@dataclass(frozen=True)
class Commit:
    """A commit on a branch."""

    id: str
    record: PromotionRecord | None
    """Of the promotion that its files are; None where they are none."""


def write_record(record: PromotionRecord, folder: Path) -> None:
    """Write the record into a folder of model files."""
    (folder / RECORD_NAME).write_text(json.dumps(asdict(record), indent=2, sort_keys=True) + "\n")


def read_record(text: str) -> PromotionRecord | None:
    """Read a record; None for a file of that name that is none, as anybody may have put on a branch."""
    try:
        return from_plain(PromotionRecord, load_json(text))
    except ValueError:
        return None


def weight_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of weights in a folder."""
    return {file.name: sha256_of(file) for file in sorted(folder.iterdir()) if file.suffix in WEIGHTS}


def cannot_write(folder: Path, error: Exception, fix: str) -> InputError:
    """Return the one line about a folder of model files that cannot be written: why, and what to do."""
    if isinstance(error, shutil.Error):  # of many files: the first one tells
        why = str(error.args[0][0][-1])
    else:
        why = str((error.strerror if isinstance(error, OSError) else None) or error)
    return InputError(f"cannot write {folder} ({why}); {fix}")


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def git_blob_id(file: Path) -> str:
    """Return the id that git, and so the Hub, gives a file's content."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def size_text(size: int) -> str:
    """Write a file's size: `812 B`, `3.9 MB`, `4.98 GB`."""
    for unit, bytes_of, digits in (("GB", 1e9, 2), ("MB", 1e6, 1), ("kB", 1e3, 1)):
        if size >= bytes_of:
            return f"{size / bytes_of:.{digits}f} {unit}"
    return f"{size} B"
