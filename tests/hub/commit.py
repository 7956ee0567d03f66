"""Turn the client's list of operations into one commit."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from tests.hub.attributes import ATTRIBUTES, LARGE, is_large, large_patterns
from tests.hub.blobs import blob_path
from tests.hub.protocol import Refusal, Reply, Request, Site, as_json
from tests.hub.store import Entry, Pointer, Remove, Repository, Write, moved

REGULAR_LIMIT_BYTES = 10 * 1024**2


def preupload(site: Site, request: Request, body: bytes, repository: Repository, revision: str) -> Reply:
    """Say which files go to the large-file storage, and what the revision holds under their paths."""
    files = repository.files(repository.resolve(revision))
    patterns = large_patterns(_attributes(repository, files))
    answers = [
        {
            "path": each["path"],
            "uploadMode": _mode(each["path"], each["size"], patterns),
            "shouldIgnore": False,
            "oid": _content_id(files[each["path"]]) if each["path"] in files else None,
        }
        for each in json.loads(body)["files"]
    ]
    return as_json({"files": answers})


def commit(site: Site, request: Request, body: bytes, repository: Repository, revision: str) -> Reply:
    """Make one commit of all operations on the branch, or refuse and change nothing.

    A large file that no pattern of `.gitattributes` names is added there, as the Hub does.
    """
    header, *operations = [json.loads(line) for line in body.decode().splitlines()]
    asked = header["value"]
    head = repository.refs("heads").get(revision)
    if head is None:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    if not head.startswith(asked.get("parentCommit", head)):
        raise moved()
    changes = [_change(repository, operation["key"], operation["value"]) for operation in operations]
    large = [each["value"]["path"] for each in operations if each["key"] == "lfsFile"]
    changes += _named_large(repository, head, changes, large)
    message = f"{asked['summary']}\n\n{asked['description']}".strip()
    oid = repository.commit(revision, head, changes, message, site.user)
    url = f"{site.endpoint}/{repository.repo_id}/commit/{oid}"
    return as_json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})


def _mode(path: str, size_bytes: int, patterns: list[str]) -> str:
    return "lfs" if size_bytes > REGULAR_LIMIT_BYTES or is_large(path, patterns) else "regular"


def _change(repository: Repository, key: str, value: dict[str, Any]) -> Write | Remove:
    path = value["path"]
    match key:
        case "file":
            return Write(path, base64.b64decode(value["content"], validate=True))
        case "deletedFile" | "deletedFolder":
            return Remove(path, folder=key == "deletedFolder")
        case "lfsFile":
            blob = blob_path(repository, value["oid"])
            # A copy inside the repository names no size.
            if not blob.exists() or blob.stat().st_size != value.get("size", blob.stat().st_size):
                raise Refusal(
                    400,
                    "Your push was rejected because an LFS pointer pointed to a file that does not exist. "
                    f"Offending file: {path}",
                )
            return Write(path, Pointer(value["oid"], blob.stat().st_size).text())
    raise Refusal(400, f"Unknown operation {key!r}")


def _named_large(
    repository: Repository, head: str, changes: list[Write | Remove], large: list[str]
) -> Iterator[Write]:
    written = [
        change.content for change in changes if isinstance(change, Write) and change.path == ATTRIBUTES
    ]
    text = written[-1].decode() if written else _attributes(repository, repository.files(head))
    patterns = large_patterns(text)
    new = [f"{path} {LARGE}\n" for path in large if not is_large(path, patterns)]
    if new:
        yield Write(ATTRIBUTES, "".join([text, *new]).encode())


def _attributes(repository: Repository, files: dict[str, Entry]) -> str:
    return repository.read(files[ATTRIBUTES].oid).decode() if ATTRIBUTES in files else ""


def _content_id(entry: Entry) -> str:
    return entry.pointer.oid if entry.pointer else entry.oid
