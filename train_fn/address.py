"""Secrets in addresses: an address stands in ledgers, reports and command lines, so it may hold none."""

import re
from urllib.parse import parse_qsl

_SECRET = re.compile("key|secret|token|passw|pwd|signature|credential|^sig$", re.IGNORECASE)
"""In the name of a parameter; `sig` is the signature of Azure."""


def held_secret(address: str) -> str:
    """Name the secret that an address holds: `a password`, `a 'token'`; empty for none.

    The parts of a chained address of fsspec (`simplecache::https://...`) are looked at one by one. What has
    no `://` is a file or a name, whatever stands in it.
    """
    for part in address.split("::"):
        rest = part.partition("://")[2]
        query = rest.partition("?")[2]
        name = next((name for name, _ in parse_qsl(query) if _SECRET.search(name)), "")
        if name:
            return f"a {name!r}"
        login, at, _ = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")
        if at and ":" in login:
            return "a password"
    return ""


def redact(text: str) -> str:
    """Return text without the user and password of an address in it."""
    return re.sub(r"(?<=://)[^/\s]*:[^/\s]*@", "***@", text)
