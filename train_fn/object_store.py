"""Objects on a store, whole or not at all, through `pyarrow.fs`: S3 and its like, or what `fsspec` knows.

A store that is away for a while is asked again; after `RETRY_S` it is one clear line.
"""

import errno
import re
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from train_fn.address import held_secret, redact, refused
from train_fn.errors import InputError

T = TypeVar("T")
RETRY_S = 120.0
"""How long a store may not answer, or answer with an error, before it is given up."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
_CHUNK_BYTES = 16 * 2**20
_ATOMIC = ("s3", "gcs", "abfs")
"""File systems where an object appears whole; elsewhere it is written under another name and moved."""
_REFUSALS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH")
"""In an answer that is the same however often one asks."""
_READ_ONLY = re.compile(r"(fsspec\+)?https?://", re.IGNORECASE)
"""Addresses that can be opened and never written; asking one again and again would tell nothing else."""
_OUR_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def check_address(address: str) -> None:
    """Refuse an address that holds a secret, cannot be written, or is of no known file system; ask nothing.

    Raises:
        InputError: It is such an address.
    """
    fix = "give the address alone; credentials come from the environment, such as AWS_ACCESS_KEY_ID"
    held = held_secret(address)
    if held:
        raise InputError(f"--storage {refused(address)!r} holds {held}; {fix}")
    if _READ_ONLY.match(address):
        raise InputError(
            f"--storage {address!r} cannot be written, as http only reads; give a folder, or an address such "
            "as s3://bucket/path"
        )
    _opened(address)


def put(address: str, name: str, data: bytes) -> None:
    """Write an object; it appears whole or not at all.

    Raises:
        InputError: The store does not take it, also after `RETRY_S`.
    """
    _put(address, name, lambda out: out.write(data))


def get(address: str, name: str) -> bytes | None:
    """Read an object; None when there is none.

    Raises:
        InputError: The store does not give it, also after `RETRY_S`.
    """
    fs, root = _opened(address)

    def read() -> bytes:
        with fs.open_input_stream(f"{root}/{name}") as stream:
            return bytes(stream.read())

    try:
        return _persist(address, read)
    except FileNotFoundError:
        return None


def listed(address: str, name: str, recursive: bool = True) -> dict[str, float]:
    """List the objects below a folder: when each was written (seconds since the epoch), by its path in there.

    Raises:
        InputError: The store does not answer, also after `RETRY_S`.
    """
    from pyarrow.fs import FileSelector, FileType

    fs, root = _opened(address)
    base = f"{root}/{name}".rstrip("/")
    where = FileSelector(base, recursive=recursive, allow_not_found=True)
    found = _persist(address, lambda: fs.get_file_info(where))
    start = len(base.lstrip("/")) + 1
    files = [one for one in found if one.type == FileType.File]
    return {one.path.lstrip("/")[start:]: one.mtime.timestamp() if one.mtime else 0.0 for one in files}


def remove(address: str, name: str) -> None:
    """Remove an object; one that is not there is no trouble.

    Raises:
        InputError: The store does not do it, also after `RETRY_S`.
    """
    fs, root = _opened(address)
    try:
        _persist(address, lambda: fs.delete_file(f"{root}/{name}"))
    except FileNotFoundError:
        return


def remove_below(address: str, name: str) -> None:
    """Remove all objects below a name; none is no trouble.

    Raises:
        InputError: The store does not do it, also after `RETRY_S`.
    """
    fs, root = _opened(address)
    try:
        _persist(address, lambda: fs.delete_dir(f"{root}/{name}"))
    except FileNotFoundError:
        return


@cache
def _opened(address: str) -> tuple[Any, str]:
    """Return the file system of an address and the path in it, without a slash at its end."""
    from pyarrow import ArrowInvalid
    from pyarrow.fs import FileSystem

    try:
        try:
            fs, path = FileSystem.from_uri(address)
        except ArrowInvalid as error:
            if "Unrecognized filesystem" not in str(error):
                raise
            fs, path = FileSystem.from_uri(f"fsspec+{address}")
    except (ValueError, OSError, ImportError) as error:
        rule = "cannot be opened: " + " ".join(redact(str(error)).split())[:300]
        fix = "write s3://bucket/path, gs://bucket/path, or another address that pyarrow or fsspec opens"
        raise InputError(f"--storage {address!r} {rule}; {fix}") from error
    return fs, path.rstrip("/")


def _persist(address: str, act: Callable[[], T]) -> T:
    """Do something with the store again and again until it works, or is refused, or `RETRY_S` are over.

    Raises:
        FileNotFoundError: There is no such object.
        InputError: It does not work.
    """
    began, pause_s = time.monotonic(), _FIRST_PAUSE_S
    while True:
        try:
            return act()
        except FileNotFoundError:
            raise
        except OSError as error:
            final = error.errno in _OUR_DISK or any(word in str(error) for word in _REFUSALS)
            if final or time.monotonic() - began + pause_s > RETRY_S:
                raise InputError(_told(address, error)) from error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _told(address: str, error: OSError) -> str:
    why = " ".join(redact(str(error)).split())[:300]
    if error.errno in _OUR_DISK:
        return f"the working copy of {address} cannot be written: {why}; make room and start again"
    return f"the storage {address} fails: {why}; once it answers, the same command goes on"


def _put(address: str, name: str, write: Callable[[Any], object]) -> None:
    fs, root = _opened(address)
    path = f"{root}/{name}"
    if fs.type_name in _ATOMIC:
        _persist(address, lambda: _write(fs, path, write))
        return
    partial = f"{path}.{uuid.uuid4().hex[:8]}.partial"  # another try writes over what the one before left

    def put_in_place() -> None:
        fs.create_dir(path.rpartition("/")[0], recursive=True)
        _write(fs, partial, write)
        fs.move(partial, path)

    try:
        _persist(address, put_in_place)
    except (InputError, OSError):
        with suppress(OSError):  # a store that takes nothing may not remove anything either
            fs.delete_file(partial)
        raise


def _write(fs: Any, path: str, write: Callable[[Any], object]) -> None:
    with fs.open_output_stream(path) as out:
        write(out)


def send(file: Path, address: str, name: str) -> None:
    """Write a file as an object; it appears whole or not at all.

    Raises:
        InputError: The store does not take it, also after `RETRY_S`.
    """

    def copy(out: Any) -> None:
        with file.open("rb") as source:
            shutil.copyfileobj(source, out, _CHUNK_BYTES)

    _put(address, name, copy)


def fetch(address: str, name: str, file: Path, size: int) -> None:
    """Write an object into a file, unless the file has its size already.

    Raises:
        InputError: The store does not give it, also after `RETRY_S`, or the disk does not take it.
    """
    fs, root = _opened(address)

    def copy() -> None:
        if file.is_file() and file.stat().st_size == size:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with fs.open_input_stream(f"{root}/{name}") as source, file.open("wb") as out:
            shutil.copyfileobj(source, out, _CHUNK_BYTES)
        if file.stat().st_size != size:
            raise OSError(f"{name} came with {file.stat().st_size:,} of its {size:,} bytes")

    try:
        _persist(address, copy)
    except FileNotFoundError as error:
        raise InputError(f"{name} is gone from {address} though its index names it; restore it") from error
