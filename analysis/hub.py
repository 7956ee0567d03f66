"""The Hugging Face Hub as a promotion sees it: what a branch holds now, and what its refusals mean.

`huggingface_hub` finds the token by itself (HF_TOKEN, or `hf auth login`); it never passes through here.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from analysis.promotion import (
    RECORD_NAME,
    WEIGHTS,
    Commit,
    PromotionRecord,
    git_blob_id,
    read_record,
    sha256_of,
    weight_hashes,
)
from spaces.repository import check_repo
from train_fn.errors import InputError

_NAME = re.compile(r"(?!.*(?:\.\.|//|/\.|\.lock(?:/|$)|[/.]$))[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}")
"""The names of git-check-ref-format(1), for branches and tags, that need no quoting anywhere."""
_NOT_TWICE = "what has arrived is not sent twice"


@dataclass(frozen=True)
class Target:
    """Where a promotion goes."""

    repo: str
    branch: str

    def __str__(self) -> str:
        """Write `org/name@dev`."""
        return f"{self.repo}@{self.branch}"


@dataclass(frozen=True)
class HubFile:
    """One file of a commit."""

    path: str
    size: int
    blob_id: str
    """Git's id of the content, or of the pointer for a file of git LFS."""
    sha256: str | None
    """Of the content, for a file of git LFS."""

    def same_as(self, file: Path, sha256: str = "") -> bool:
        """Whether a file here has the same content; its SHA-256 is computed where nobody knows it."""
        if self.size != file.stat().st_size:
            return False
        if self.sha256 is not None:
            return self.sha256 == (sha256 or sha256_of(file))
        return self.blob_id == git_blob_id(file)


@dataclass(frozen=True)
class Held:
    """What the target holds before anything is done."""

    target: Target
    repo_exists: bool
    head: str | None
    """Commit of the branch; None where there is no such branch."""
    files: tuple[HubFile, ...]
    record: PromotionRecord | None
    tags: Mapping[str, str]
    """Tag -> commit."""

    @property
    def weights(self) -> Mapping[str, HubFile]:
        """The files of weights on the branch, by path."""
        return {file.path: file for file in self.files if Path(file.path).suffix in WEIGHTS}

    @property
    def has_model(self) -> bool:
        """Whether there are weights on the branch."""
        return bool(self.weights)

    def holds(self, package: Path) -> bool:
        """Whether the branch holds a promotion of these very weights.

        The record alone does not tell: somebody may have changed the files beside it.
        """
        if self.record is None:
            return False
        ours = weight_hashes(package)
        return (
            self.record.weights == ours
            and self.weights.keys() == ours.keys()
            and all(file.same_as(package / path, ours[path]) for path, file in self.weights.items())
        )


def check_target(repo: str, branch: str) -> Target:
    """Return the target the user names.

    Raises:
        InputError: The repository is not `owner/name`, or the branch is no name for one.
    """
    check_repo(repo)
    if not _NAME.fullmatch(branch):
        raise InputError(f"--branch {branch!r} is no name of a branch; write for example --branch dev")
    return Target(repo, branch)


def check_tag_name(tag: str) -> None:
    """Refuse a tag that git would refuse, before anything is sent.

    Raises:
        InputError: It is no name for a tag.
    """
    if not _NAME.fullmatch(tag):
        raise InputError(f"--tag {tag!r} is no name of a tag; write for example --tag exp4-best")


def look(target: Target) -> Held:
    """Ask the Hub what the target holds.

    Raises:
        InputError: The Hub does not answer, or refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with refusals(target):
        if not api.repo_exists(target.repo):
            return Held(target, False, None, (), None, {})
        refs = api.list_repo_refs(target.repo)
        heads = {ref.name: ref.target_commit for ref in refs.branches}
        tags = {ref.name: ref.target_commit for ref in refs.tags}
        head = heads.get(target.branch)
        files = list_files(target, head) if head is not None else ()
        record = read_held_record(target, head, files)
        return Held(target, True, head, files, record, tags)


def list_files(target: Target, commit: str) -> tuple[HubFile, ...]:
    """List the files of a commit, by path."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    entries = HfApi().list_repo_tree(target.repo, revision=commit, recursive=True)
    found = [
        HubFile(one.path, one.size, one.blob_id, one.lfs.sha256 if one.lfs is not None else None)
        for one in entries
        if isinstance(one, RepoFile)
    ]
    return tuple(sorted(found, key=lambda file: file.path))


def read_held_record(
    target: Target, commit: str | None, files: tuple[HubFile, ...]
) -> PromotionRecord | None:
    """Return the record of the promotion that a commit holds, None where it holds none."""
    from huggingface_hub import hf_hub_download

    if commit is None or not any(file.path == RECORD_NAME for file in files):
        return None
    return read_record(Path(hf_hub_download(target.repo, RECORD_NAME, revision=commit)).read_text())


def look_back(target: Target, commit: str) -> Commit:
    """Ask the Hub what an earlier commit holds.

    Raises:
        InputError: The Hub does not answer, or knows no such commit.
    """
    with refusals(target):
        return Commit(commit, read_held_record(target, commit, list_files(target, commit)))


def check_rights(target: Target, repo_exists: bool) -> None:
    """Refuse before any work when the token cannot write.

    Raises:
        InputError: There is no token, or it may not write there.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with refusals(target):
        api.whoami()
        if repo_exists:
            api.auth_check(target.repo, write=True)


@contextmanager
def refusals(target: Target, done: str = "") -> Iterator[None]:
    """Turn what the Hub refuses into one line that says what to do.

    Args:
        target: Where a promotion goes.
        done: What has happened to it already, and what to do then; empty while nothing has.

    Raises:
        InputError: In place of any error of the Hub or of the connection to it.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
    )

    try:
        yield
    except InputError:
        raise
    except LocalTokenNotFoundError as error:
        raise InputError(
            "there is no token for the Hub; log in with `hf auth login`, or set HF_TOKEN"
        ) from error
    except (HTTPError, LocalEntryNotFoundError, ConnectionError, RuntimeError, ValueError) as error:
        # An upload that fails is a RuntimeError, or a ValueError, with the refusal behind it.
        known = [one for one in (error, error.__cause__) if isinstance(one, HTTPError)]
        cause = known[0] if known else error
        if isinstance(cause, HfHubHTTPError):
            raise InputError(_told(target, cause.response.status_code, str(cause), done)) from error
        again = f"run the same command again: it looks what {target} holds, and {_NOT_TWICE}"
        raise InputError(
            f"the Hub at {constants.ENDPOINT} does not answer ({type(cause).__name__}); {done or again}"
        ) from error


def _told(target: Target, status: int, said: str, done: str) -> str:
    so_far = f"; {done}" if done else ""
    match status:
        case 401:
            return (
                f"the Hub does not accept the token for {target.repo} (401); log in with `hf auth login`"
                f"{so_far}"
            )
        case 403:
            return (
                f"the token may not write to {target.repo} (403); take one with write access to it, or "
                f"another --repo{so_far}"
            )
        case 412:
            return (
                f"{target} moved meanwhile (412): somebody else changed the branch; nothing was changed; "
                "look at it and run the same command again"
            )
        case 429 | 500 | 502 | 503 | 504:
            again = f"nothing was changed on {target}; run the same command again, {_NOT_TWICE}"
            return f"the Hub is busy ({status}); {done or again}"
    first = next((line for line in reversed(said.splitlines()) if line.strip()), "")
    return f"the Hub refuses {target} ({status}): {first.strip()[:200]}; {done or 'nothing was changed'}"
