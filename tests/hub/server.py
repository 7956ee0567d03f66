"""Serve the API of the Hugging Face Hub on this machine alone, with faults on demand."""

import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from sys import exception
from typing import Any

from tests.hub import routes
from tests.hub.protocol import Planned, Refusal, Reply, Request, Role, Site
from tests.hub.store import Repository, Write, create, locate


@dataclass(frozen=True)
class Failure:
    """A status that is answered in place of the real reply."""

    status: int
    headers: Mapping[str, str]
    message: str


class HubServer:
    """A Hub that listens from the start, on one port for the API and git, on another for large files.

    Args:
        root: Folder for repositories, made if need be.
        tokens: Role of each token.
        owners: Names that "write" tokens may write to; the first is the person behind the tokens.
        part_size_bytes: Larger files are uploaded in parts of this size.
    """

    def __init__(
        self,
        root: Path,
        *,
        tokens: Mapping[str, Role],
        owners: tuple[str, ...],
        part_size_bytes: int = 5 * 10**9,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.requests: list[Request] = []
        self.errors: list[BaseException | None] = []
        self.failures: Planned[Failure] = Planned()
        self.drops: Planned[int] = Planned()
        self.calls: Planned[Callable[[], Any]] = Planned()
        self.losses: Planned[bool] = Planned()
        self._lock = threading.RLock()  # A stop from one thread is over before a restart from another begins.
        self._listeners = [Listener(self, 0), Listener(self, 0)]
        endpoint, storage = (f"http://127.0.0.1:{listener.server_port}" for listener in self._listeners)
        self.site = Site(root, endpoint, storage, owners[0], owners, tokens, part_size_bytes)

    def __enter__(self) -> "HubServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The address for `HF_ENDPOINT` and `HfApi(endpoint=...)`."""
        return self.site.endpoint

    def set_part_size(self, part_size_bytes: int) -> None:
        """Have larger files uploaded in parts of this size from now on."""
        self.site = replace(self.site, part_size_bytes=part_size_bytes)

    def stop(self) -> None:
        """Close the ports and every connection at once; nothing that is under way is done."""
        with self._lock:
            for listener in self._listeners:
                listener.stop()

    def restart(self) -> None:
        """Listen again on the same ports with the same storage."""
        with self._lock:
            self.stop()
            self._listeners = [Listener(self, listener.server_port) for listener in self._listeners]

    def fail_next(
        self,
        match: str,
        *,
        status: int,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        message: str = "Failure on demand",
    ) -> None:
        """Answer the next requests whose "METHOD path" contains `match` with `status`, and do nothing."""
        self.failures.add(match, Failure(status, headers or {}, message), times)

    def drop_next(self, match: str, *, after_bytes: int, times: int = 1) -> None:
        """Close the connection after so many bytes of the body of the next requests that match.

        The client's uploads try again by themselves after 1, 2, 4, 8 and 8 seconds.
        """
        self.drops.add(match, after_bytes, times)

    def lose_reply_next(self, match: str, times: int = 1) -> None:
        """Do what the next matching requests ask, then close the connection without an answer."""
        self.losses.add(match, True, times)

    def before_next(self, match: str, action: Callable[[], Any]) -> None:
        """Call `action` when the next matching request has arrived and nothing of it is done."""
        self.calls.add(match, action)

    def seen(self, match: str) -> list[Request]:
        """List the requests so far whose "METHOD path" contains the regular expression."""
        return [request for request in self.requests if re.search(match, request.line)]

    def repository(self, repo_id: str) -> Repository:
        """Look at a repository behind the API."""
        return locate(self.site.root, *repo_id.split("/"))

    def add_repository(self, repo_id: str, *, private: bool = False) -> Repository:
        """Make a repository behind the API, whoever owns it."""
        repository = self.repository(repo_id)
        create(repository, private)
        return repository

    def commit_file(self, repo_id: str, branch: str, path: str, content: bytes) -> str:
        """Commit a small file behind the API, as another person would, and return the commit's id."""
        repository = self.repository(repo_id)
        head = repository.refs("heads")[branch]
        return repository.commit(branch, head, [Write(path, content)], f"Write {path}", "somebody-else")


class Listener(ThreadingHTTPServer):
    """One port of the server, with the connections it has open."""

    daemon_threads = True

    def __init__(self, hub: HubServer, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.hub = hub
        self.stopped = False
        self.connections: set[socket.socket] = set()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            close(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = exception()
        if isinstance(error, ConnectionError):
            return  # The client went away: no fault of the server.
        self.hub.errors.append(error)
        super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Read one request, let it meet what is planned for it, answer and close."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output to itself."""

    def serve(self) -> None:
        self.close_connection = True
        hub, line = self.server.hub, f"{self.command} {self.path}"
        drop_after = hub.drops.take(line)
        body, whole = self._read_body(drop_after)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, len(body), whole)
        hub.requests.append(request)
        if (action := hub.calls.take(line)) is not None:
            action()
        if not whole or self.server.stopped:
            return close(self.connection)
        reply = self._answer(hub, request, body)
        if hub.losses.take(line):
            return close(self.connection)
        return self._send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def _read_body(self, drop_after: int | None) -> tuple[bytes, bool]:
        limit = float("inf") if drop_after is None else drop_after
        body = bytearray()
        try:
            for piece in self._pieces():
                body += piece
                if len(body) >= limit:
                    return bytes(body[: int(limit)]), False
        except (ConnectionError, EOFError):
            return bytes(body), False
        return bytes(body), drop_after is None

    def _pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes, whether its length or its chunks are announced (RFC 9112)."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            yield from self._exactly(int(self.headers.get("Content-Length", 0)))
            return
        while size := int(self.rfile.readline() or b"0", 16):
            yield from self._exactly(size)
            self.rfile.readline()
        self.rfile.readline()

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self.rfile.read1(min(size, 1 << 16))
            if not piece:
                raise EOFError
            size -= len(piece)
            yield piece

    def _answer(self, hub: HubServer, request: Request, body: bytes) -> Reply:
        if (failure := hub.failures.take(request.line)) is not None:
            return Refusal(failure.status, failure.message, headers=failure.headers).reply()
        try:
            return routes.answer(hub.site, request, body)
        except Refusal as refusal:
            return refusal.reply()

    def _send(self, reply: Reply) -> None:
        try:
            self.send_response(reply.status)
            framing = {"Content-Length": str(len(reply.body)), "Connection": "close"}
            for name, value in {**reply.headers, **framing}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)
        except ConnectionError:
            close(self.connection)  # The client went away, or the server was stopped.


def close(connection: socket.socket) -> None:
    """Cut a connection, whoever still reads from it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It is closed already.
