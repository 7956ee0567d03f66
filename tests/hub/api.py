"""Answer what is asked about repositories: their revisions, refs, history and files."""

import json
from typing import Any
from urllib.parse import parse_qs

import yaml

from tests.hub.blobs import blob_path
from tests.hub.protocol import Refusal, Reply, Request, Site, as_json
from tests.hub.store import Entry, Repository, create, locate


def whoami(site: Site, request: Request, body: bytes) -> Reply:
    """Tell whose token it is and what it may do."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in site.owners if name != site.user]
    access = {"displayName": "test", "role": site.tokens[token]}
    auth = {"type": "access_token", "accessToken": access}
    return as_json({"type": "user", "name": site.user, "fullname": site.user, "orgs": orgs, "auth": auth})


def validate_yaml(site: Site, request: Request, body: bytes) -> Reply:
    """Check that the metadata of a model card is YAML."""
    parts = json.loads(body)["content"].split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        return as_json(
            {"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]}
        )
    try:
        yaml.safe_load(parts[1])
    except yaml.YAMLError as error:
        return as_json({"errors": [{"message": str(error)}], "warnings": []}, 400)
    return as_json({"errors": [], "warnings": []})


def create_repo(site: Site, request: Request, body: bytes) -> Reply:
    """Make a repository, unless it is there."""
    asked = json.loads(body)
    owner = asked.get("organization") or site.user
    token = request.headers["authorization"].removeprefix("Bearer ")
    if site.tokens[token] != "write" or owner not in site.owners:
        raise Refusal(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
    repository = locate(site.root, owner, asked["name"])
    url = {"url": f"{site.endpoint}/{repository.repo_id}"}
    try:
        create(repository, private=asked.get("visibility") == "private")
    except FileExistsError:
        return as_json({"error": "You already created this model repo", **url}, 409)
    return as_json({**url, "name": repository.repo_id})


def allowed(site: Site, request: Request, body: bytes, repository: Repository) -> Reply:
    """Confirm the right that the route asked for."""
    return as_json({})


def info(site: Site, request: Request, body: bytes, repository: Repository, revision: str = "main") -> Reply:
    """Describe a revision and name its files."""
    commit = repository.resolve(revision)
    history = repository.log(commit)
    files = repository.files(commit).values()
    siblings = [_sibling(entry) if request.query("blobs") else {"rfilename": entry.path} for entry in files]
    names = {
        "id": repository.repo_id,
        "modelId": repository.repo_id,
        "author": repository.repo_id.split("/")[0],
    }
    dates = {"lastModified": history[0].date, "createdAt": history[-1].date}
    state = {"private": repository.private, "gated": False, "disabled": False}
    return as_json({**names, **dates, **state, "sha": commit, "tags": [], "siblings": siblings})


def _sibling(entry: Entry) -> dict[str, Any]:
    about = {"rfilename": entry.path, "blobId": entry.oid, "size": entry.size_bytes}
    if entry.pointer is None:
        return about
    lfs = {"sha256": entry.pointer.oid, "size": entry.pointer.size_bytes, "pointerSize": entry.size_bytes}
    return {**about, "size": entry.pointer.size_bytes, "lfs": lfs}


def refs(site: Site, request: Request, body: bytes, repository: Repository) -> Reply:
    """List branches and tags."""
    branches, tags = (
        [{"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid} for name, oid in named.items()]
        for kind, named in ((kind, repository.refs(kind)) for kind in ("heads", "tags"))
    )
    return as_json({"branches": branches, "tags": tags, "converts": []})


def create_branch(site: Site, request: Request, body: bytes, repository: Repository, branch: str) -> Reply:
    """Make a branch at a revision."""
    if branch in repository.refs("heads"):
        raise Refusal(409, f"Reference already exists: refs/heads/{branch}")
    start = repository.resolve(json.loads(body).get("startingPoint", "main"))
    repository.git("update-ref", f"refs/heads/{branch}", start, "")
    return as_json({})


def delete_branch(site: Site, request: Request, body: bytes, repository: Repository, branch: str) -> Reply:
    """Delete a branch other than `main`."""
    if branch == "main":
        raise Refusal(403, "The branch main cannot be deleted")
    if branch not in repository.refs("heads"):
        raise Refusal(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    repository.git("update-ref", "-d", f"refs/heads/{branch}")
    return as_json({})


def create_tag(site: Site, request: Request, body: bytes, repository: Repository, revision: str) -> Reply:
    """Tag a revision, with a message if one is given."""
    asked = json.loads(body)
    commit = repository.resolve(revision)
    if asked["tag"] in repository.refs("tags"):
        raise Refusal(409, f"Reference already exists: refs/tags/{asked['tag']}")
    message = ("-a", "-m", asked["message"]) if asked.get("message") else ()
    repository.git("tag", *message, "--", asked["tag"], commit, author=site.user)
    return as_json({})


def delete_tag(site: Site, request: Request, body: bytes, repository: Repository, tag: str) -> Reply:
    """Delete a tag."""
    if tag not in repository.refs("tags"):
        raise Refusal(404, f"Invalid rev id: {tag}", "RevisionNotFound")
    repository.git("update-ref", "-d", f"refs/tags/{tag}")
    return as_json({})


def commits(site: Site, request: Request, body: bytes, repository: Repository, revision: str) -> Reply:
    """List the history of a revision, all on one page."""
    return as_json(
        [
            {
                "id": entry.oid,
                "title": entry.title,
                "message": entry.message,
                "date": entry.date,
                "authors": [{"user": entry.author}],
            }
            for entry in repository.log(repository.resolve(revision))
        ]
    )


def tree(
    site: Site, request: Request, body: bytes, repository: Repository, revision: str, path: str = ""
) -> Reply:
    """List the files and folders in a folder, all on one page."""
    prefix = f"{path}/" if path else ""
    below = [
        entry for entry in repository.entries(repository.resolve(revision)) if entry.path.startswith(prefix)
    ]
    if path and not below:
        raise Refusal(404, f"{path} does not exist on {revision!r}", "EntryNotFound")
    if request.query("recursive") != "true":
        below = [entry for entry in below if "/" not in entry.path.removeprefix(prefix)]
    return as_json([_listed(entry) for entry in below])


def paths_info(site: Site, request: Request, body: bytes, repository: Repository, revision: str) -> Reply:
    """Describe the asked paths that exist."""
    asked = parse_qs(body.decode())["paths"]
    return as_json([_listed(e) for e in repository.entries(repository.resolve(revision)) if e.path in asked])


def _listed(entry: Entry) -> dict[str, Any]:
    about = {"type": "directory" if entry.folder else "file", "oid": entry.oid, "path": entry.path}
    if entry.pointer is None:
        return {**about, "size": entry.size_bytes}
    lfs = {"oid": entry.pointer.oid, "size": entry.pointer.size_bytes, "pointerSize": entry.size_bytes}
    return {**about, "size": entry.pointer.size_bytes, "lfs": lfs}


def download(
    site: Site, request: Request, body: bytes, repository: Repository, revision: str, path: str
) -> Reply:
    """Give a file out, or say where the storage has it if it is a large one."""
    commit = repository.resolve(revision)
    known = {"X-Repo-Commit": commit}
    entry = repository.files(commit).get(path)
    if entry is None:
        raise Refusal(404, f"Entry not found: {path}", "EntryNotFound", known)
    if entry.pointer is None:
        return Reply(200, repository.read(entry.oid), {**known, "ETag": f'"{entry.oid}"'})
    if not blob_path(repository, entry.pointer.oid).exists():
        raise Refusal(404, f"Object {entry.pointer.oid} of {path} does not exist.", "EntryNotFound", known)
    linked = {"X-Linked-Etag": f'"{entry.pointer.oid}"', "X-Linked-Size": str(entry.pointer.size_bytes)}
    place = f"{site.storage}/storage/{repository.repo_id}/{entry.pointer.oid}"
    return Reply(302, headers={**known, **linked, "ETag": f'"{entry.oid}"', "Location": place})
