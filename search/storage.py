"""The storage folder: made by a search, and only looked at by its plan."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from train_fn.errors import InputError


def make_storage(storage: Path) -> None:
    """Make the storage folder where it is missing.

    Raises:
        InputError: It cannot be made.
    """
    with _explained(storage):
        storage.mkdir(parents=True, exist_ok=True)


def check_storage(storage: Path) -> None:
    """Refuse a storage folder that could not be made, and make nothing.

    Raises:
        InputError: It could not.
    """
    with _explained(storage):
        there = existing_parent(storage)
        is_missing = there != storage.absolute()
        if not there.is_dir():
            raise _error(errno.ENOTDIR if is_missing else errno.EEXIST)
        if is_missing and not os.access(there, os.W_OK | os.X_OK):
            raise _error(errno.EACCES)


def existing_parent(path: Path) -> Path:
    """Return the path, or the nearest one above it that exists, be it as a link to nowhere."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists() or folder.is_symlink())


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@contextmanager
def _explained(storage: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"--storage {str(storage)!r} cannot be made ({error.strerror}); name another folder"
        ) from None
