"""Serve each repository as a git remote, through git's own CGI program."""

import os
import subprocess
from urllib.parse import urlsplit

from tests.hub.protocol import Reply, Request, Site
from tests.hub.store import Repository


def serve(site: Site, request: Request, body: bytes, repository: Repository, service: str) -> Reply:
    """Answer one request of a clone, a fetch or a push.

    Source: git-http-backend(1), the environment of a CGI program (RFC 3875).
    """
    parts = urlsplit(request.path)
    headers = request.headers
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_PROJECT_ROOT": str(repository.folder),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
        "PATH_INFO": f"/git/{service}",
        "QUERY_STRING": parts.query,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        # Who may push was decided before; git-http-backend takes a push only from somebody with a name.
        "REMOTE_USER": site.user,
    }
    out = subprocess.run(
        ["git", "http-backend"], input=body, capture_output=True, check=True, env=environment
    ).stdout
    head, content = out.split(b"\r\n\r\n", 1)
    answered = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    status = answered.pop("Status", "200 OK")
    return Reply(int(status.split(" ")[0]), content, answered)
