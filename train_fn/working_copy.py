"""The working copy of an object store on this machine's disk, laid out like any storage folder.

    ~/.cache/sft-search/<slug>/storage.address     what it is a copy of
    ~/.cache/sft-search/<slug>/...                 the same names as on the store

A folder is on the store when its index is: `whole-<folder>.json` beside it, written after all its files and
removed before them. The copy of a folder has the same index beside it. In an ordinary storage folder, which
has no such marker, nothing is sent or fetched.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from train_fn import object_store
from train_fn.errors import InputError
from train_fn.typed import from_plain, load_json

MARKER = "storage.address"


@dataclass(frozen=True)
class Place:
    """Where something is on a store."""

    address: str
    """Of the storage."""
    name: str
    """Below it."""

    def __str__(self) -> str:
        base, mark, query = self.address.partition("?")
        return f"{base.rstrip('/')}/{self.name}{mark}{query}"


@dataclass(frozen=True)
class _Index:
    """What a folder on the store holds."""

    id: str
    """Of this sending: the same files sent again have another."""
    key: str
    """What the folder was made for."""
    files: dict[str, int]
    """Bytes of each file, by its path inside the folder."""


def is_address(storage: str) -> bool:
    """Tell whether a storage is an address such as `s3://bucket/path`, not a folder."""
    return "://" in storage


def working_copy(address: str) -> Path:
    """Return this machine's working copy of a store, made when it is missing.

    Raises:
        InputError: The address holds a password, no file system is known for it, or the disk refuses.
    """
    object_store.check_address(address)
    slug = re.sub("[^A-Za-z0-9]+", "-", address.partition("?")[0])[:48].strip("-")
    digest = hashlib.blake2b(address.encode(), digest_size=4).hexdigest()
    folder = Path.home() / ".cache" / "sft-search" / f"{slug}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MARKER).exists():
            write_whole(folder / MARKER, address.encode())
    except OSError as error:
        raise InputError(
            f"cannot make {folder}, the working copy of {address} ({error.strerror}); make it possible"
        ) from error
    return folder


def local_storage(storage: str) -> Path:
    """Return where a command works: the storage folder itself, or the working copy of an address.

    Raises:
        InputError: It is empty, or an address that `working_copy` refuses.
    """
    if not storage.strip():  # the path of an empty text is the current folder
        raise InputError(
            f"--storage {storage!r} names no folder (a variable of the shell that is not set?); give one, "
            "for example --storage runs"
        )
    return working_copy(storage) if is_address(storage) else Path(storage)


def place_of(path: Path) -> Place | None:
    """Return where a path of a working copy is on the store; None for one of an ordinary storage folder."""
    path = path.absolute()
    for root in path.parents:
        if (root / MARKER).is_file():
            return Place((root / MARKER).read_text(), path.relative_to(root).as_posix())
    return None


def shown(storage: Path) -> str:
    """Return what the user calls a storage folder: its address where it is a working copy."""
    marker = storage / MARKER
    return marker.read_text() if marker.is_file() else str(storage)


def send_file(file: Path) -> None:
    """Send a file of a working copy to the store.

    Raises:
        InputError: The store does not take it.
    """
    place = place_of(file)
    if place is not None:
        object_store.send(file, place.address, place.name)


def send_folder(folder: Path, key: str = "") -> None:
    """Send a folder of a working copy to the store, in place of one that is there.

    Args:
        folder: Nobody writes to it any more.
        key: What it was made for.

    Raises:
        InputError: The store does not take it; readers find no folder then.
    """
    place = place_of(folder)
    if place is None:
        return
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    sizes = {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}
    index = json.dumps(asdict(_Index(uuid.uuid4().hex, key, sizes))).encode()
    object_store.remove(place.address, _index_of(place.name))
    for inside in sizes:
        object_store.send(folder / inside, place.address, f"{place.name}/{inside}")
    object_store.put(place.address, _index_of(place.name), index)
    write_whole(folder.parent / _index_of(folder.name), index)


def fetch_folder(folder: Path, key: str = "") -> bool:
    """Bring a folder of a working copy from the store, unless the copy is the very one that is there.

    Begun again after a crash, it goes on: files of the right size are not fetched twice. Processes that want
    the same folder wait for each other.

    Args:
        folder: Appears whole or not at all.
        key: What the folder must have been made for; empty asks for nothing.

    Returns:
        Whether the folder is here and is the store's; False when the store has none, or one made for
        something else. In an ordinary storage folder: whether it is there.

    Raises:
        InputError: The store does not give it, or the disk here does not take it.
    """
    place = place_of(folder)
    if place is None:
        return folder.is_dir()
    told = object_store.get(place.address, _index_of(place.name))
    if told is None:
        return False
    index, ours = _read_index(place, told), folder.parent / _index_of(folder.name)
    if key and index.key != key:
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _alone(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir() and ours.is_file() and ours.read_bytes() == told:
            return True
        partial = folder.with_name(f".fetching-{index.id}")
        partial.mkdir(exist_ok=True)
        for inside, size in index.files.items():
            object_store.fetch(place.address, f"{place.name}/{inside}", partial / inside, size)
        shutil.rmtree(folder, ignore_errors=True)  # what stays makes the renaming fail
        os.replace(partial, folder)
        write_whole(ours, told)
    return True


def is_on_store(folder: Path) -> bool:
    """Tell whether the store holds a folder of a working copy whole.

    Raises:
        InputError: The store does not answer.
    """
    place = place_of(folder)
    return place is not None and object_store.get(place.address, _index_of(place.name)) is not None


def whole_folders(place: Place) -> list[str]:
    """List the folders that are on the store below a place, by their names in there.

    Raises:
        InputError: The store does not answer.
    """
    found = []
    for name in object_store.listed(place.address, place.name):
        above, _, last = name.rpartition("/")
        if last.startswith("whole-") and last.endswith(".json"):  # not an index that is being written
            inner = last.removeprefix("whole-").removesuffix(".json")
            found.append(f"{above}/{inner}".lstrip("/"))
    return sorted(found)


def remove_from_store(place: Place) -> None:
    """Remove a folder from the store, its index first; one that is not there is no trouble.

    Raises:
        InputError: The store does not do it.
    """
    object_store.remove(place.address, _index_of(place.name))
    object_store.remove_below(place.address, place.name)


def write_whole(file: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OSError: The disk does not take it.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    os.replace(partial, file)


def _index_of(name: str) -> str:
    above, slash, last = name.rpartition("/")
    return f"{above}{slash}whole-{last}.json"


def _read_index(place: Place, told: bytes) -> _Index:
    try:
        return from_plain(_Index, load_json(told))
    except ValueError as error:
        raise InputError(
            f"the index of {place} cannot be read ({error}); restore it, or remove it"
        ) from error


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Keep the other processes of this machine out of the block."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
