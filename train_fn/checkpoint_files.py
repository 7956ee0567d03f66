"""The folders of a trial's checkpoints: their names, and the manifest that says what a complete one holds.

checkpoints/.partial-000000123456/    being written, or left behind by a crash
checkpoints/tokens-000000123456/      complete: its manifest was written last, then it was renamed
    manifest.json                     SHA-256 and size of every other file
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

KEPT = 2
"""Complete checkpoints of a running trial: the newest, and one to fall back to."""
MANIFEST = "manifest.json"
_COMPLETE, _PARTIAL = "tokens-", ".partial-"


@dataclass(frozen=True)
class FileDigest:
    """What a file must be."""

    bytes: int
    sha256: str


def partial_folder(workspace: Path, tokens_seen: int) -> Path:
    """Return where a checkpoint is written before it is complete."""
    return workspace / "checkpoints" / f"{_PARTIAL}{tokens_seen:012d}"


def complete_folder(workspace: Path, tokens_seen: int) -> Path:
    """Return where a checkpoint is once it is complete."""
    return workspace / "checkpoints" / f"{_COMPLETE}{tokens_seen:012d}"


def complete_folders(workspace: Path) -> list[Path]:
    """List the complete checkpoints of a trial, the oldest first."""
    return sorted((workspace / "checkpoints").glob(f"{_COMPLETE}*"))


def tokens_of(folder: Path) -> int:
    """Return the tokens that the trial had seen at a complete checkpoint."""
    return int(folder.name.removeprefix(_COMPLETE))


def newest_tokens(workspace: Path) -> int | None:
    """Return the tokens seen at the newest complete checkpoint of a trial; None without one."""
    folders = complete_folders(workspace)
    return tokens_of(folders[-1]) if folders else None


def digest_on_disk(path: Path) -> FileDigest:
    """Force a file to the disk and return its digest.

    Raises:
        OSError: The disk does not take it.
    """
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return _digest(path)


def publish(workspace: Path, tokens_seen: int, digests: Mapping[str, FileDigest]) -> None:
    """Write the manifest of a partial checkpoint, make it a complete one, and drop all but `KEPT`.

    Args:
        workspace: The trial's folder.
        tokens_seen: Names the checkpoint.
        digests: Of all its files, by their paths inside the folder.

    Raises:
        OSError: The disk does not take it; the checkpoint stays a partial one.
    """
    partial = partial_folder(workspace, tokens_seen)
    complete = complete_folder(workspace, tokens_seen)
    with open(partial / MANIFEST, "w") as file:
        json.dump({name: asdict(digest) for name, digest in sorted(digests.items())}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, complete)
    _sync_folder(complete.parent)
    for old in complete_folders(workspace)[:-KEPT]:
        shutil.rmtree(old)


def find_problem(folder: Path, share: int, shares: int) -> str | None:
    """Compare a checkpoint with its manifest.

    Args:
        folder: Of a complete checkpoint.
        share: Which part of its files is looked at, so that the ranks share the reading.
        shares: Number of parts.

    Returns:
        What is wrong with it, as the end of a sentence; None when nothing is.
    """
    try:
        listed = json.loads((folder / MANIFEST).read_text())
        digests = {str(name): FileDigest(**digest) for name, digest in listed.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        digests = {}
    if not digests:
        return f"has no readable {MANIFEST}"
    for name, expected in sorted(digests.items())[share::shares]:
        path = folder / name
        if not path.is_file():
            return f"lacks {name}"
        if path.stat().st_size != expected.bytes:
            return f"has {path.stat().st_size:,} of the {expected.bytes:,} bytes of {name}"
        if _digest(path) != expected:
            return f"has another {name} than was written (SHA-256 differs)"
    return None


def remove_partial(workspace: Path) -> None:
    """Remove what a crash left behind; nobody may be writing."""
    for partial in (workspace / "checkpoints").glob(f"{_PARTIAL}*"):
        shutil.rmtree(partial)


def remove_all(workspace: Path) -> None:
    """Remove all checkpoints of a trial that will not go on."""
    shutil.rmtree(workspace / "checkpoints", ignore_errors=True)


def _digest(path: Path) -> FileDigest:
    with open(path, "rb") as file:
        return FileDigest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
