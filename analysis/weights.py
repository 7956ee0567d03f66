"""Where the weights of a trial lie, and whether they are still the same."""

import hashlib
from pathlib import Path

from analysis.records import SearchRecord, TrialRecord
from train_fn.bundled_path import bundled_folder
from train_fn.errors import InputError
from train_fn.working_copy import fetch_folder, is_address

WHOLE = 2**28
"""Bytes of a file that is read to be known."""


def trial_weights(search: SearchRecord, trial: TrialRecord) -> Path:
    """Return the folder with the weights of a finished trial, as `transformers` loads it.

    The storage folder may have moved since the ledger was written, so its own place for them comes first.
    Weights on a store are fetched into it.

    Raises:
        InputError: The trial kept no weights, they are gone, or the store does not give them.
    """
    if trial.checkpoint is None and trial.status == "finished":
        keep = search.experiment["budget"]["keep_weights"]
        raise InputError(
            f"{trial.id} (finished) kept no weights: those of the best stay (budget.keep_weights = {keep}); "
            "name one of these"
        )
    if trial.checkpoint is None:
        raise InputError(
            f"{trial.id} ({trial.status}) kept no weights; only finished trials do, and the report lists them"
        )
    said = Path(trial.checkpoint)
    usual = _usual(search, trial)
    if is_address(trial.checkpoint):
        fetch_folder(usual)
    for folder in (usual, search.folder / said, said):
        if (folder / "config.json").is_file():
            return folder
    raise InputError(
        f"the weights of {trial.id} are gone: neither {usual} nor {said} holds a model; copy the folder back"
    )


def weights_place(search: SearchRecord, trial: TrialRecord) -> str | None:
    """Return where the weights of a trial lie, to be shown; nothing is read or fetched.

    Returns:
        Their place in the search's own folder, which may have moved since the ledger was written, or what
        that says where the place is empty; None when none were kept.
    """
    if trial.checkpoint is None:
        return None
    here = _usual(search, trial).resolve()
    return str(here) if here.is_dir() else trial.checkpoint


def _usual(search: SearchRecord, trial: TrialRecord) -> Path:
    return search.folder / "trials" / f"{trial.number:04d}" / "weights"


def weights_key(source: str, gguf_file: str = "") -> str:
    """Return a hash that changes when the files of a model change: their content, or of large ones the time.

    Args:
        source: `bundled`, a folder, or a Hub id, which is known by its name alone.
        gguf_file: Name of a GGUF file in the folder.
    """
    folder = bundled_folder() if source == "bundled" else Path(source)
    digest = hashlib.blake2b(f"{source if not folder.is_dir() else ''} {gguf_file}".encode(), digest_size=8)
    if folder.is_dir():
        for file in sorted(path for path in folder.iterdir() if path.is_file()):
            size = file.stat().st_size
            digest.update(f"\n{file.name} {size}".encode())
            digest.update(file.read_bytes() if size <= WHOLE else str(file.stat().st_mtime_ns).encode())
    return digest.hexdigest()
