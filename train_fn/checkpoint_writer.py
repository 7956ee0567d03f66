"""Copy the state of a trial and write the files of a checkpoint on a thread, while the training goes on.

Weights and moments change in the update that ends an optimizer step, so they may be copied while the next
step's forward and backward passes run; only the update waits for the copies (the snapshot of CheckFreq, Mohan
et al., FAST 2021).

Each rank's thread writes that rank's files and then, as a sign, their digests. Rank 0's thread waits for the
signs of all ranks and completes the checkpoint. No thread takes part in a collective: those belong to the
training, and their order must be the same on all ranks.
"""

import json
import os
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from train_fn.checkpoint_files import FileDigest, digest_on_disk, partial_folder, publish
from train_fn.disk import DISK_ERRORS, unwritten
from train_fn.errors import InputError
from train_fn.trial_storage import keep_checkpoint

Write = Callable[[Path], object]
"""Writes one file."""
Copy = Callable[[], Write]
"""Copies what a file holds to host memory, and returns what writes it."""
POLL_S = 0.05
_DISK_ERRORS = (*DISK_ERRORS, RuntimeError)
"""`torch.save` raises the last one on a full disk."""


class CheckpointWriter:
    """One rank's part in writing checkpoints, one at a time.

    Args:
        workspace: The trial's folder, the same on all ranks.
        rank: Of this process.
        ranks: Of the trial.
    """

    def __init__(self, workspace: Path, rank: int, ranks: int) -> None:
        self._workspace, self._rank, self._ranks = workspace, rank, ranks
        self._over = threading.Event()
        self._over.set()
        self._discarded = threading.Event()
        self.copied = threading.Event()
        """Set while no state is being copied: weights and moments may change."""
        self.copied.set()
        self._problem: str | None = None
        self._bug: Exception | None = None
        self.write_s = 0.0
        """What the last checkpoint took, in seconds."""

    def start(self, tokens_seen: int, files: dict[str, Copy]) -> None:
        """Begin to write a checkpoint; the one before must be written or discarded.

        Args:
            tokens_seen: Names the checkpoint.
            files: This rank's files, by their paths inside the checkpoint. What they are copied from must
                stay as it is until `copied` is set.
        """
        assert not self.busy, "at most one checkpoint is being written"
        for state in (self._discarded, self.copied, self._over):
            state.clear()
        # `Thread.start` waits until the thread runs, and that one then keeps the interpreter's lock.
        try:
            start_new_thread(self._run, (tokens_seen, files))
        except RuntimeError:  # the system has no room for a thread: nobody may wait for this one
            self.copied.set()
            self._over.set()
            raise

    @property
    def busy(self) -> bool:
        """Whether this rank still writes; rank 0 until the checkpoint is complete."""
        return not self._over.is_set()

    @property
    def problem(self) -> str | None:
        """Why the last checkpoint could not be written, in one line; None when nothing went wrong.

        Raises:
            Exception: What ended the thread, when it was not the disk.
        """
        if self._bug is not None:
            raise self._bug
        return self._problem

    def discard(self) -> None:
        """Give up what is being written and wait until nothing is written any more."""
        self._discarded.set()
        self._over.wait()

    def _run(self, tokens_seen: int, files: dict[str, Copy]) -> None:
        began = time.monotonic()
        try:
            self._write(tokens_seen, self._copies(files))
        except InputError as error:
            self._problem = str(error)
        except _DISK_ERRORS as error:
            what = f"the checkpoint at {tokens_seen:,} tokens"
            told = unwritten(what, self._workspace, error)
            self._problem = f"{told}, it goes on from the checkpoint before"
        except Exception as error:  # noqa: BLE001 - the trial must see the thread's end, whatever ended it
            self._bug = error
        finally:
            self.write_s = time.monotonic() - began
            self._over.set()

    def _copies(self, files: dict[str, Copy]) -> dict[str, Write]:
        try:
            return {name: copy() for name, copy in files.items()}
        finally:
            self.copied.set()  # whatever became of them, the training goes on

    def _write(self, tokens_seen: int, files: dict[str, Write]) -> None:
        folder = partial_folder(self._workspace, tokens_seen)
        digests: dict[str, FileDigest] = {}
        while files:
            if self._discarded.is_set():
                return
            name = next(iter(files))
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            files.pop(name)(path)  # the memory behind it is free once it is written
            digests[name] = digest_on_disk(path)
        sign = _sign(folder, self._rank)
        if self._rank > 0:
            unfinished = sign.with_suffix(".tmp")
            unfinished.write_text(json.dumps({name: asdict(digest) for name, digest in digests.items()}))
            os.replace(unfinished, sign)
            return
        for rank in range(1, self._ranks):
            sign = _sign(folder, rank)
            while not sign.exists():
                if self._discarded.wait(POLL_S):
                    return
            digests |= {name: FileDigest(**digest) for name, digest in json.loads(sign.read_text()).items()}
            sign.unlink()
        publish(self._workspace, tokens_seen, digests)
        keep_checkpoint(self._workspace, tokens_seen)


def _sign(folder: Path, rank: int) -> Path:
    return folder / f"written-{rank}.json"
