"""Move a branch on the Hub: to a new promotion, or back to the one before. One commit each time.

Everything large is uploaded before the commit, and the Hub takes the commit only on top of the one that was
looked at: whatever is interrupted leaves the branch as it was, and what has arrived is not sent again.
"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.hub import Held, Target, list_files, refusals
from analysis.promotion import WEIGHTS
from train_fn.errors import InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def send(held: Held, folder: Path, message: str) -> str:
    """Put a folder on the branch and return the commit; repository (private) and branch are made if missing.

    Files of another model that the branch holds (weights, and what names them) go in the same commit.

    Raises:
        InputError: The Hub refuses, does not answer, or the branch moved. The branch is as it was.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api, target = HfApi(), held.target
    with refusals(target):
        if not held.repo_exists:
            api.create_repo(target.repo, private=True, exist_ok=True)
        head, parent = _heads(api, held)
        additions = [
            CommitOperationAdd(path.relative_to(folder).as_posix(), path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        api.preupload_lfs_files(
            target.repo, additions, revision=target.branch if head else None, free_memory=False
        )
        ours = {one.path_in_repo for one in additions}
        there = list_files(target, parent)
        stale = [CommitOperationDelete(f.path) for f in there if f.path not in ours and _of_a_model(f.path)]
        return _commit(api, target, head, parent, [*additions, *stale], message)


def previous_of(held: Held) -> str:
    """Return the commit of the promotion before the one that a branch holds.

    Raises:
        InputError: The branch holds no promotion, or its first one.
    """
    if held.record is None:
        raise InputError(f"{held.target} holds no promotion; there is nothing to roll back")
    if held.record.previous is None:
        raise InputError(
            f"{held.target} holds {held.record.trial}, its first promotion; there is none to go back to"
        )
    return held.record.previous


def restore(held: Held, previous: str, message: str) -> str:
    """Give the branch the files of an earlier commit and return the new one.

    Raises:
        InputError: The Hub refuses or does not answer, or the branch moved. It is as it was.
    """
    from huggingface_hub import CommitOperationCopy, CommitOperationDelete, HfApi

    target = held.target
    with refusals(target):
        before = list_files(target, previous)
        now = {file.path: file for file in held.files}
        copies = [
            CommitOperationCopy(file.path, file.path, src_revision=previous)
            for file in before
            if file.path not in now or now[file.path].blob_id != file.blob_id
        ]
        kept = {file.path for file in before}
        gone = [CommitOperationDelete(path) for path in now if path not in kept]
        assert held.head is not None, "a branch with a record has a head"
        return _commit(HfApi(), target, held.head, held.head, [*copies, *gone], message)


def check_sent(target: Target, commit: str, folder: Path) -> int:
    """List a commit back and compare every file's hash with the folder; return how many there are.

    Raises:
        InputError: A file is missing or differs, or the Hub does not answer.
    """
    with refusals(target, _arrived(target, commit)):
        there = {file.path: file for file in list_files(target, commit)}
    sent = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in sent:
        name = path.relative_to(folder).as_posix()
        if name not in there or not there[name].same_as(path):
            raise InputError(
                f"{target} holds another {name} than was sent (commit {commit[:12]}); "
                "go back with --rollback --push, then try again"
            )
    return len(sent)


def check_restored(target: Target, commit: str, previous: str) -> int:
    """List a restored commit back and compare it with the one it restores; return how many files it has.

    Raises:
        InputError: They differ, or the Hub does not answer.
    """
    done = (
        f"commit {commit[:12]} gave {target} the files of {previous[:12]} already: "
        "look at it, and do not roll back once more"
    )
    with refusals(target, done):
        now, before = list_files(target, commit), list_files(target, previous)
    if now != before:
        raise InputError(
            f"{target} at {commit[:12]} differs from {previous[:12]}, which it should restore; look at it"
        )
    return len(now)


def set_tag(held: Held, tag: str, commit: str) -> None:
    """Tag a commit; a tag that is there already on it stays.

    Raises:
        InputError: The tag names another commit, or the Hub refuses.
    """
    from huggingface_hub import HfApi

    check_tag(held, tag, commit)
    if tag not in held.tags:
        with refusals(held.target, _arrived(held.target, commit)):
            HfApi().create_tag(held.target.repo, tag=tag, revision=commit)


def check_tag(held: Held, tag: str, commit: str | None) -> None:
    """Refuse a tag that names another commit already.

    Args:
        held: What the Hub holds.
        tag: The name wanted.
        commit: What it is to name; None for a commit that is yet to be made.

    Raises:
        InputError: The tag is taken.
    """
    if tag in held.tags and held.tags[tag] != commit:
        raise InputError(
            f"{held.target.repo} has the tag {tag} already (commit {held.tags[tag][:12]}); "
            "give another name with --tag"
        )


def _arrived(target: Target, commit: str) -> str:
    """Say what is done already when something fails behind the commit, and how to go on."""
    return f"commit {commit[:12]} is on {target} already: run the same command again"


def _heads(api: "HfApi", held: Held) -> tuple[str | None, str]:
    """Return the head of the branch, None without one, and the commit that a new commit follows."""
    target = held.target
    heads = {ref.name: ref.target_commit for ref in api.list_repo_refs(target.repo).branches}
    head = heads.get(target.branch)
    if held.repo_exists and head != held.head:
        raise InputError(
            f"{target} moved meanwhile: somebody else changed the branch; nothing was changed; "
            "look at it and run the same command again"
        )
    return head, head if head is not None else str(api.repo_info(target.repo).sha)


def _commit(
    api: "HfApi", target: Target, head: str | None, parent: str, operations: list[object], message: str
) -> str:
    """Commit on top of `parent`. A branch that was made for it goes again when the commit fails.

    When the answer is lost, the branch itself says whether the commit arrived: the Hub took it only on top of
    `parent`, with our message.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if head is None:
        api.create_branch(target.repo, branch=target.branch, revision=parent)
    try:
        done = api.create_commit(
            target.repo,
            operations,
            commit_message=message,
            revision=target.branch,
            parent_commit=parent,
        )
    except HTTPError as error:
        if not isinstance(error, HfHubHTTPError):
            newest, *older = api.list_repo_commits(target.repo, revision=target.branch)
            if older and older[0].commit_id == parent and newest.title == message:
                return str(newest.commit_id)
        if head is None:
            with suppress(HTTPError):  # the first error is the one to tell
                api.delete_branch(target.repo, branch=target.branch)
        raise
    return str(done.oid)


def _of_a_model(path: str) -> bool:
    """Whether a file would make others load another model than the one sent."""
    name = Path(path).name
    return Path(path).suffix in WEIGHTS or name.endswith(".index.json") or name == "adapter_config.json"
