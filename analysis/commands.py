"""What every command of this package shares: where it reads searches from, and its environment."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from train_fn.carried import fetch_search
from train_fn.working_copy import local_storage


def add_storage(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says where the searches are."""
    told = "a folder, or an address such as s3://bucket/path; default: runs"
    parser.add_argument("--storage", default="runs", metavar="DIR", help=told)


def open_storage(storage: str, searches: Sequence[str]) -> Path:
    """Return the folder to read searches from: the storage folder, or the working copy of an address.

    Raises:
        InputError: The address is none, or does not answer.
    """
    folder = local_storage(storage)
    for name in searches:
        fetch_search(folder / name)
    return folder


def prepare_environment() -> None:
    """Set what torch and transformers read from the environment, unless the user already did.

    Must run before either is imported. DeepSpeed, which transformers imports where it is installed, may speak
    of errors only: nothing here trains.
    """
    logging.getLogger("DeepSpeed").addFilter(lambda record: record.levelno >= logging.ERROR)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on two busy cores took five times as long
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
