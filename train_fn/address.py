"""Secrets in addresses: an address stands in ledgers, reports and command lines, so it may hold none."""

import re
from urllib.parse import parse_qsl

_SECRET = re.compile(
    "secret|passw|pwd|signature|credential|accesskey|(key|token|auth|sig)(?![a-z])", re.IGNORECASE
)
"""In the name of a parameter, where `tokenizer` and `keywords` are none; `sig` is the signature of Azure."""
_DATABASE = re.compile(r"(postgresql|mysql|mariadb|mssql|oracle)(\+\w+)?://", re.IGNORECASE)
"""Addresses that SQLAlchemy reads, but for those of files."""


def held_secret(address: str) -> str:
    """Name the secret that an address holds: `a password`, `a 'token'`; empty for none.

    The parts of a chained address of fsspec (`simplecache::https://...`) are looked at one by one. What has
    no `://` is a file or a name, whatever stands in it.
    """
    for part in address.split("::"):
        scheme, _, rest = part.partition("://")
        queries = re.split("[?#]", rest)[1:]
        name = next((name for query in queries for name, _ in parse_qsl(query) if _SECRET.search(name)), "")
        if name:
            return f"a {name!r}"
        host = re.split("[/?#]", rest, maxsplit=1)[0]
        login, at, _ = host.rpartition("@")
        if at and (":" in login or scheme.startswith("http")):  # many a token is a user name
            return "a password"
        _, colon, port = host.rpartition(":")
        if colon and not port.isdigit() and "@" in rest:  # its password holds a slash
            return "a password"
    return ""


def refused(address: str) -> str:
    """Return an address that holds a secret as a message may show it."""
    scheme, base = address.partition("://")[0], re.split("[?#]", address)[0]
    if "@" not in address:
        return base
    return f"{scheme}://***@{base.rpartition('@')[2]}" if "@" in base else f"{scheme}://***"


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
    """Return the pattern of user and password; that of a database may hold slashes."""
    return r"(?<=://)[^?\s]*@" if _DATABASE.match(address) else r"(?<=://)[^/\s]*@"
