"""Take large files in, by the Git LFS batch API and the Hub's multipart form of it, and give them out."""

import hashlib
import json
import math
from pathlib import Path
from threading import get_ident
from typing import Any

from tests.hub.protocol import Refusal, Reply, Request, Site, as_json
from tests.hub.store import Repository


def blob_path(repository: Repository, oid: str) -> Path:
    """Say where a large file lies once it has arrived whole."""
    return repository.folder / "lfs" / oid


def batch(site: Site, request: Request, body: bytes, repository: Repository) -> Reply:
    """Tell for each file where to upload it, or nothing if it is held already.

    Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
    """
    asked = json.loads(body)
    if asked["operation"] != "upload":
        raise Refusal(422, "Only the operation 'upload' is served.")
    objects = [_instructions(site, repository, each["oid"], each["size"]) for each in asked["objects"]]
    parts = any(
        "chunk_size" in each.get("actions", {}).get("upload", {}).get("header", {}) for each in objects
    )
    return as_json({"transfer": "multipart" if parts else "basic", "objects": objects, "hash_algo": "sha256"})


def _instructions(site: Site, repository: Repository, oid: str, size: int) -> dict[str, Any]:
    if blob_path(repository, oid).exists():
        return {"oid": oid, "size": size, "authenticated": True}
    target = f"{site.storage}/storage/{repository.repo_id}/{oid}"
    upload: dict[str, Any] = {"href": f"{target}?size={size}"}
    if size > site.part_size_bytes:
        numbers = range(1, math.ceil(size / site.part_size_bytes) + 1)
        parts = {str(number): f"{target}/part/{number}" for number in numbers}
        completion = f"{site.endpoint}/api/complete_multipart/{repository.repo_id}?size={size}"
        upload = {"href": completion, "header": {"chunk_size": str(site.part_size_bytes), **parts}}
    verify = {"href": f"{site.endpoint}/{repository.repo_id}.git/info/lfs/objects/verify"}
    return {"oid": oid, "size": size, "authenticated": True, "actions": {"upload": upload, "verify": verify}}


def put(site: Site, request: Request, body: bytes, repository: Repository, oid: str) -> Reply:
    """Store a file that came in one piece."""
    _keep(repository, oid, int(request.query("size")), body)
    return Reply(200, headers={"ETag": f'"{oid}"'})


def put_part(site: Site, request: Request, body: bytes, repository: Repository, oid: str, part: str) -> Reply:
    """Store one part until all have come."""
    folder = repository.folder / "parts" / oid
    folder.mkdir(parents=True, exist_ok=True)
    (folder / part).write_bytes(body)
    return Reply(200, headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"'})


def complete(site: Site, request: Request, body: bytes, repository: Repository) -> Reply:
    """Join the parts that the client names, after checking their ETags."""
    asked = json.loads(body)
    folder = repository.folder / "parts" / asked["oid"]
    pieces = []
    for part in sorted(asked["parts"], key=lambda part: part["partNumber"]):
        path = folder / str(part["partNumber"])
        pieces.append(path.read_bytes() if path.exists() else b"")
        if f'"{hashlib.md5(pieces[-1]).hexdigest()}"' != part["etag"]:
            raise Refusal(400, f"Part {part['partNumber']} was not uploaded or has another ETag.")
    _keep(repository, asked["oid"], int(request.query("size")), b"".join(pieces))
    return as_json({"success": True})


def verify(site: Site, request: Request, body: bytes, repository: Repository) -> Reply:
    """Confirm that a file is held with this size."""
    asked = json.loads(body)
    path = blob_path(repository, asked["oid"])
    if not path.exists() or path.stat().st_size != asked["size"]:
        raise Refusal(404, f"Object {asked['oid']} of {asked['size']} bytes does not exist.")
    return as_json({})


def get(site: Site, request: Request, body: bytes, repository: Repository, oid: str) -> Reply:
    """Give a file out."""
    path = blob_path(repository, oid)
    if not path.exists():
        raise Refusal(404, f"Object {oid} does not exist.")
    return Reply(200, path.read_bytes(), {"ETag": f'"{oid}"', "Content-Type": "application/octet-stream"})


def _keep(repository: Repository, oid: str, size: int, content: bytes) -> None:
    found = hashlib.sha256(content).hexdigest()
    if len(content) != size or found != oid:
        raise Refusal(
            400, f"Expected {size} bytes with SHA-256 {oid}, got {len(content)} bytes with {found}."
        )
    # Two files of one commit may have the same content and then arrive at the same time.
    arriving = blob_path(repository, oid).with_suffix(f".{get_ident()}")
    arriving.write_bytes(content)
    arriving.rename(blob_path(repository, oid))
