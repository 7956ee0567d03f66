"""Secrets in addresses: an address stands in ledgers, reports and command lines, so it may hold none."""

import re
from urllib.parse import parse_qsl

_SECRET = re.compile("key|secret|token|passw|pwd|signature|credential|^sig$", re.IGNORECASE)
"""In the name of a parameter; `sig` is the signature of Azure."""
_DATABASE = re.compile(r"(postgresql|mysql|mariadb|mssql|oracle)(\+\w+)?://", re.IGNORECASE)
"""Addresses that SQLAlchemy reads, but for those of files."""


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


def bare(address: str) -> str:
    """Return an address without user, password and query."""
    return re.sub(_login_of(address), "", address).partition("?")[0]


def without_secrets(text: str, address: str) -> str:
    """Return a library's message on one line, without the secrets of its address and without its SQL."""
    text = text.partition("[SQL:")[0]
    login = re.search(_login_of(address), address)
    name = login[0].removesuffix("@") if login else ""
    for secret in (name, name.partition(":")[2], address.partition("?")[2]):
        text = text.replace(secret, "***") if secret else text
    return " ".join(re.sub(r"(?<=://)[^/\s]*@", "", text).split())


def _login_of(address: str) -> str:
    """Return the pattern of user and password; SQLAlchemy takes all up to the last @ for them."""
    return r"(?<=://)[^?\s]*@" if _DATABASE.match(address) else r"(?<=://)[^/\s]*@"
