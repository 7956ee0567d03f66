"""Settle what every test process needs before torch or deepspeed is imported, and what tests share."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on two shared cores are slower than one
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.pop("COLUMNS", None)  # commands lay out what they print by it, and pytest's workers are told one

import pytest
import torch

from tests.dialogues import write_dialogues
from tests.hub.fixture import hub, hub_api, hub_repo  # noqa: F401 - fixtures for every test

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")


@pytest.fixture(scope="session")
def own_dialogues(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own JSONL."""
    return write_dialogues(tmp_path_factory.mktemp("own") / "mine.jsonl")
