"""Find what answers a request, and whether its token may ask."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from tests.hub import api, blobs, commit, git_http
from tests.hub.protocol import Refusal, Reply, Request, Role, Site
from tests.hub.store import Repository, locate

# Storage addresses are signed on the Hub, so whoever was told one may use it: "anyone".
Right = Literal["anyone", "user", "read", "write"]

_ID = "(?P<owner>[^/?]+)/(?P<name>[^/?]+)"
_REPO = f"/api/models/{_ID}"
_GIT = "/(?P<owner>[^/?]+)/(?P<name>[^/?]+?)(?:\\.git)?"


@dataclass(frozen=True)
class Route:
    """What answers requests of one kind; a repository is handed to `answer` if the pattern has `owner`."""

    right: Right
    method: str
    pattern: str
    answer: Callable[..., Reply]


ROUTES = (
    Route("user", "GET", "/api/whoami-v2", api.whoami),
    Route("anyone", "POST", "/api/validate-yaml", api.validate_yaml),
    Route("user", "POST", "/api/repos/create", api.create_repo),
    Route("read", "GET", f"{_REPO}/auth-check", api.allowed),
    Route("write", "GET", f"{_REPO}/auth-check/write", api.allowed),
    Route("read", "GET", _REPO, api.info),
    Route("read", "GET", f"{_REPO}/revision/(?P<revision>[^/?]+)", api.info),
    Route("read", "GET", f"{_REPO}/refs", api.refs),
    Route("write", "POST", f"{_REPO}/branch/(?P<branch>[^/?]+)", api.create_branch),
    Route("write", "DELETE", f"{_REPO}/branch/(?P<branch>[^/?]+)", api.delete_branch),
    Route("write", "POST", f"{_REPO}/tag/(?P<revision>[^/?]+)", api.create_tag),
    Route("write", "DELETE", f"{_REPO}/tag/(?P<tag>[^/?]+)", api.delete_tag),
    Route("read", "GET", f"{_REPO}/commits/(?P<revision>[^/?]+)", api.commits),
    Route("read", "GET", f"{_REPO}/tree/(?P<revision>[^/?]+)(?:/(?P<path>[^?]+))?", api.tree),
    Route("read", "POST", f"{_REPO}/paths-info/(?P<revision>[^/?]+)", api.paths_info),
    Route("write", "POST", f"{_REPO}/preupload/(?P<revision>[^/?]+)", commit.preupload),
    Route("write", "POST", f"{_REPO}/commit/(?P<revision>[^/?]+)", commit.commit),
    Route("read", "GET|HEAD", f"/{_ID}/resolve/(?P<revision>[^/?]+)/(?P<path>[^?]+)", api.download),
    Route("write", "POST", f"{_GIT}/info/lfs/objects/batch", blobs.batch),
    Route("write", "POST", f"{_GIT}/info/lfs/objects/verify", blobs.verify),
    Route("anyone", "POST", f"/api/complete_multipart/{_ID}", blobs.complete),
    Route("anyone", "PUT", f"/storage/{_ID}/(?P<oid>[0-9a-f]+)", blobs.put),
    Route("anyone", "PUT", f"/storage/{_ID}/(?P<oid>[0-9a-f]+)/part/(?P<part>[0-9]+)", blobs.put_part),
    Route("anyone", "GET|HEAD", f"/storage/{_ID}/(?P<oid>[0-9a-f]+)", blobs.get),
    Route("write", "GET", f"{_GIT}/(?P<service>info/refs)\\?service=git-receive-pack", git_http.serve),
    Route("write", "POST", f"{_GIT}/(?P<service>git-receive-pack)", git_http.serve),
    Route("read", "GET", f"{_GIT}/(?P<service>info/refs)", git_http.serve),
    Route("read", "POST", f"{_GIT}/(?P<service>git-upload-pack)", git_http.serve),
)


def answer(site: Site, request: Request, body: bytes) -> Reply:
    """Answer a request.

    Raises:
        Refusal: Whatever the Hub would refuse.
    """
    for route in ROUTES:
        found = re.fullmatch(f"{route.pattern}(?:[?&].*)?", request.path)
        if found and re.fullmatch(route.method, request.method):
            break
    else:
        raise Refusal(404, f"Sorry, we can't find the page you are looking for: {request.line}")
    named = {name: unquote(value) for name, value in found.groupdict().items() if value is not None}
    role = _role(site, request)
    if "owner" not in named:
        if route.right == "user" and role is None:
            raise Refusal(401, "Invalid username or password.")
        return route.answer(site, request, body)
    repository = locate(site.root, named.pop("owner"), named.pop("name"))
    if route.right != "anyone":
        _admit(site, repository, role, route.right)
    return route.answer(site, request, body, repository, **named)


def _role(site: Site, request: Request) -> Role | None:
    """Read the role of the token, which git sends as the password of basic authentication."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    token = base64.b64decode(value).decode().partition(":")[2] if scheme == "Basic" else value
    if token not in site.tokens:
        raise Refusal(401, "Invalid credentials in Authorization header")
    return site.tokens[token]


def _admit(site: Site, repository: Repository, role: Role | None, right: Right) -> None:
    """Refuse as the Hub does, which tells a stranger nothing about what is private or missing."""
    owned = repository.repo_id.split("/")[0] in site.owners
    visible = repository.folder.exists() and (not repository.private or (role is not None and owned))
    if role is None and (not visible or right == "write"):
        # The client takes any 401 of the real Hub for a missing repository; elsewhere it needs the code.
        ask = {"WWW-Authenticate": 'Basic realm="Authentication required"'}
        raise Refusal(401, "Invalid username or password.", "RepoNotFound", ask)
    if not visible:
        raise Refusal(404, "Repository not found", "RepoNotFound")
    if right == "write" and role != "write":
        raise Refusal(403, "Forbidden: you must use a write token to upload to a repository.")
    if right == "write" and not owned:
        raise Refusal(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
