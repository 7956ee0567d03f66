"""Say what a request, a reply and a refusal of the Hub are."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

Role = Literal["read", "write"]


@dataclass(frozen=True)
class Site:
    """What every answer needs to know of the server.

    Attributes:
        root: Folder that holds all repositories.
        endpoint: Address of the Hub, `http://127.0.0.1:port`.
        storage: Address of the large-file storage, another origin as on the Hub: tokens do not belong there.
        user: Name of the person behind every token.
        owners: Names that a token with the role "write" may write to.
        tokens: Role of each token.
        part_size_bytes: Larger files are uploaded in parts of this size.
    """

    root: Path
    endpoint: str
    storage: str
    user: str
    owners: tuple[str, ...]
    tokens: Mapping[str, Role]
    part_size_bytes: int


@dataclass(frozen=True)
class Request:
    """One request as it arrived.

    Attributes:
        method: HTTP verb.
        path: Path and query as sent.
        headers: Header values under lower-case names.
        bytes_received: Size of the body that arrived, less than announced if the connection broke.
        whole: Whether all of the body arrived.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    bytes_received: int
    whole: bool

    @property
    def line(self) -> str:
        """Name the request as faults match it."""
        return f"{self.method} {self.path}"

    def query(self, key: str, default: str = "") -> str:
        """Read one value of the query string."""
        return parse_qs(urlsplit(self.path).query).get(key, [default])[0]


@dataclass(frozen=True)
class Reply:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An error that the Hub tells its client.

    Args:
        status: HTTP status.
        message: Words for `X-Error-Message` and the JSON body.
        code: Value of `X-Error-Code`, which decides the client's exception; none where the Hub sends none.
        headers: Further headers.
    """

    def __init__(
        self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.headers = status, message, code, headers or {}

    def reply(self) -> Reply:
        """Put the refusal into the form the client reads."""
        code = {"X-Error-Code": self.code} if self.code else {}
        headers = {"X-Error-Message": self.message.replace("\n", " "), **code, **self.headers}
        return as_json({"error": self.message}, self.status, headers)


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with JSON."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


T = TypeVar("T")


class Planned(Generic[T]):
    """Things that shall happen to coming requests, first planned first."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._plans: list[tuple[re.Pattern[str], T]] = []

    def add(self, match: str, what: T, times: int = 1) -> None:
        """Plan `what` for the next `times` requests whose "METHOD path" contains the regular expression."""
        with self._lock:
            self._plans += [(re.compile(match), what)] * times

    def take(self, line: str) -> T | None:
        """Take what is planned for this request, which is then spent."""
        with self._lock:
            for position, (pattern, what) in enumerate(self._plans):
                if pattern.search(line):
                    del self._plans[position]
                    return what
        return None
