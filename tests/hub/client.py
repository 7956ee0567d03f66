"""Say shortly what tests of the Hub itself say often."""

import hashlib
from typing import Any

import pytest
from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.hub.fixture import REPO_ID

TEXT = b"A model.\n"
WEIGHTS = bytes(range(256)) * (6 * 1024**2 // 256)


def add(api: HfApi, files: dict[str, bytes], revision: str = "dev", **options: Any) -> CommitInfo:
    """Commit files to a branch of the test's repository."""
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(REPO_ID, operations, commit_message="Add files", revision=revision, **options)


def head(api: HfApi, revision: str = "dev") -> str:
    """Ask for the commit that a revision of the test's repository names."""
    commit = api.model_info(REPO_ID, revision=revision).sha
    assert commit is not None
    return commit


def sha256(content: bytes) -> str:
    """Hash content as Git LFS does."""
    return hashlib.sha256(content).hexdigest()


def status_of(error: pytest.ExceptionInfo[HfHubHTTPError]) -> int:
    """Read the HTTP status behind the client's error."""
    return error.value.response.status_code
