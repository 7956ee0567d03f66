"""The file of a study, mended before it is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from train_fn.errors import InputError

_LOCK_SUFFIX = ".lock"  # of optuna.storages.journal.JournalFileSymlinkLock, the backend's own


def open_journal(path: Path) -> JournalStorage:
    """Open a journal that nobody else writes (`search.lock`), without what a crash left in it.

    Optuna would wait half a minute for the owner of a lock that nobody holds any more. It overlooks a last
    line without its end only until the next one is written after it; then nothing can be read any more.
    """
    path.with_name(path.name + _LOCK_SUFFIX).unlink(missing_ok=True)
    if path.exists():
        _cut_torn_line(path)
    return JournalStorage(JournalFileBackend(str(path)))


@contextmanager
def writing() -> Iterator[None]:
    """Say in one line that the study cannot be written; for a block, or for a whole function.

    Raises:
        InputError: In place of what the file system says (a full disk).
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the study cannot be written: {error.strerror}; make room there, the same command goes on"
        ) from error


def _cut_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
