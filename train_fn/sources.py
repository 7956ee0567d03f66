"""Read conversations from files, file systems, the Hub, and the packages that carry the bundled dialogues."""

import codecs
import hashlib
import importlib.metadata
import importlib.resources
import json
import lzma
import os
import re
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from train_fn.config import DataConfig
from train_fn.errors import InputError
from train_fn.formats import ACCEPTED, Conversation, RowError, Turn, conversation

_MAGIC = {
    b"\x1f\x8b": "gzip; give its name the end .gz",
    b"PAR1": "Parquet; write each row as a JSON object on a line of its own",
}
_AS_CSV = f"CSV; write each row as a JSON object on a line of its own, in a form such as {ACCEPTED}"
_CSV = re.compile(rb"""(?:"[^"]*"|[\w .-]+)(?:[,;\t](?:"[^"]*"|[\w .-]*))+""")
"""A first row of names; a line of prose, a comment or a piece of JSON is none."""
_FORMAT_VERSION = "2"
"""Counts up when the same bytes are read in another way, so that prepared data is made anew."""
_CHUNK_BYTES = 1 << 22
_UNREADABLE = (
    OSError, ValueError, ImportError, EOFError, RuntimeError, IndexError, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile,
)  # fmt: skip
"""What file systems and decompressors raise: of archives, an encrypted one a `RuntimeError`, an empty one an
`IndexError`."""


class Broken:
    """A row that could not be read and was skipped as told."""

    def __init__(self, place: str, why: str) -> None:
        self.place, self.why = place, why


Row = Conversation | Broken | None
"""None stands for a row whose reward is not 1."""


def read(config: DataConfig) -> Iterator[Row]:
    """Yield the rows of all sources in order.

    Raises:
        InputError: A source cannot be opened, or a row is broken and `data.skip_broken_lines` is off.
    """
    for index, address in enumerate(config.sources):
        kind, _, name = address.partition(":")
        if kind == "bundled":
            yield from _bundled(name, index)
        elif kind == "hub":
            yield from _hub(name, index, config)
        else:
            yield from _lines(address, index, config)


def check_source(address: str) -> None:
    """Refuse a source that cannot be read, as far as this machine knows without asking another.

    Raises:
        InputError: There is no such file, or no such dialogues.
    """
    kind, _, name = address.partition(":")
    if kind == "bundled":
        _package(name)
        return
    with _explained(address):
        path = local_path(address)
        if path is not None and not path.is_fifo():  # to open a pipe waits for somebody to write
            path.open("rb").close()


def fingerprint(address: str, hub_split: str, memo_dir: Path) -> str:
    """Return a hash that changes when the content of a source does.

    Local files are hashed whole (blake2b, about 1 GB/s), and again only when size or time of change differ;
    remote ones by what their file system says (size, time or ETag), the Hub by what `datasets` takes for the
    state of its files, bundled dialogues by the version of their package.

    Args:
        address: The source.
        hub_split: Split of a Hub dataset.
        memo_dir: Where hashes of local files are remembered.

    Raises:
        InputError: The source cannot be opened.
    """
    check_source(address)
    kind, _, name = address.partition(":")
    if kind == "bundled":
        identity = f"{name} {importlib.metadata.version(_package(name))}"
    elif kind == "hub":
        identity = f"{name} {hub_split} {_hub_state(name)}"
    elif Path(address).is_file():
        with _explained(address):
            identity = _content_hash(Path(address), memo_dir)
    else:
        import fsspec

        with _explained(address):
            file_system, path = fsspec.core.url_to_fs(address)
            identity = str(file_system.ukey(path))
    return hashlib.blake2b(f"{_FORMAT_VERSION} {identity}".encode(), digest_size=16).hexdigest()


def local_path(source: str) -> Path | None:
    """Return the file a source names on this machine, None for bundled, Hub and remote ones."""
    if source.startswith("file:"):
        return Path(source.removeprefix("file:").removeprefix("//")).expanduser()
    if source.startswith(("hub:", "bundled:")) or "://" in source:
        return None
    return Path(source).expanduser()


def _content_hash(file: Path, memo_dir: Path) -> str:
    """Return the hash of a file's bytes, remembered by its path, inode, size and time of change."""
    state = file.stat()
    identity = f"{file.resolve()} {state.st_ino} {state.st_size} {state.st_mtime_ns}"
    memo = memo_dir / hashlib.blake2b(identity.encode(errors="replace"), digest_size=16).hexdigest()
    if memo.is_file():
        return memo.read_text()
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "blake2b").hexdigest()
    # A file of this moment may change once more within the clock's tick, unseen; it is not remembered yet.
    if time.time() - state.st_mtime > 2:
        memo_dir.mkdir(parents=True, exist_ok=True)
        partial = memo.with_suffix(f".{os.getpid()}")
        partial.write_text(digest)
        partial.replace(memo)
    return digest


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn what file systems and decompressors raise into one line that names the source."""
    try:
        yield
    except InputError:
        raise
    except _UNREADABLE as error:
        told = str(error).strip()
        if told == address and error.__cause__ is not None:  # fsspec names the file and keeps why to itself
            told = str(error.__cause__).strip()
        first = (told or type(error).__name__).splitlines()[0]
        fix = "name a file, an address that fsspec opens, hub:owner/name or bundled:chitchat"
        if isinstance(error, EOFError):
            first, fix = "it is truncated", "copy or download it again"
        raise InputError(f"data.sources: {address!r} cannot be read ({first}); {fix}") from error


def _lines(address: str, source: int, config: DataConfig) -> Iterator[Row]:
    name = address.rsplit("/", 1)[-1]
    number, sound, form = 0, False, ""
    with _explained(address), _open(address) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{name}:{number}"
            try:
                row = conversation(json.loads(line), place, source)
            except (RowError, ValueError, RecursionError) as error:
                form = form or ("" if sound else _other_form(line))
                if form and not config.skip_broken_lines and not (form == _AS_CSV and _is_followed(file)):
                    break
                why = str(error) if isinstance(error, RowError) else f"is no JSON ({error})"
                yield _broken(f"{address}:{number}", place, why, config)
            else:
                sound = True
                yield row
    if form and not sound:
        raise InputError(f"data.sources: {address!r} looks like {form}")
    if number == 0:
        raise InputError(f"data.sources: {address!r} is empty; name a file with one JSON object per line")


def _other_form(line: bytes) -> str:
    """Say what a file looks like whose first line is no JSON object, and the way out; empty if like one."""
    text = line.removeprefix(codecs.BOM_UTF8).strip()
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"{\0" in line or b"\0{" in line:
        return "UTF-16; make it UTF-8: iconv -f UTF-16 -t UTF-8 OLD > NEW"
    for magic, form in _MAGIC.items():
        if line.startswith(magic):
            return form
    if text == b"[" or text.replace(b" ", b"").startswith(b"[{"):
        return "a JSON array; put each object on a line of its own: jq -c '.[]' OLD > NEW"
    if text == b"{":
        return "JSON over several lines; put each object on one line: jq -c . OLD > NEW"
    if _CSV.fullmatch(text):
        return _AS_CSV
    return ""


def _is_followed(file: IO[bytes]) -> bool:
    """Tell whether the next line is an object: then the one before it alone is odd."""
    return next((line for line in file if line.strip()), b"").lstrip().startswith(b"{")


def _broken(where: str, place: str, why: str, config: DataConfig) -> Broken:
    if not config.skip_broken_lines:
        raise InputError(
            f"{where} {why}; mend it, or --set data.skip_broken_lines=true to count and skip such lines"
        )
    return Broken(place, why)


def _open(address: str) -> IO[bytes]:
    import fsspec

    opened: IO[bytes] = fsspec.open(address, "rb", compression="infer").open()
    return opened


def _hub(name: str, source: int, config: DataConfig) -> Iterator[Row]:
    import datasets

    with _explained(f"hub:{name}"):
        rows: Any = datasets.load_dataset(name, split=config.hub_split)
    for number, row in enumerate(rows):
        # A table gives every row every column; a missing value is None, not a missing key.
        present = {key: value for key, value in row.items() if value is not None}
        place = f"{name}:{number}"
        try:
            yield conversation(present, place, source)
        except RowError as error:
            yield _broken(f"hub:{place}", place, str(error), config)


def _hub_state(name: str) -> str:
    """Return what `datasets` tells versions apart by: a commit, or of a local folder its files' times."""
    import datasets

    with _explained(f"hub:{name}"):
        return str(datasets.load_dataset_builder(name).hash)


def _package(name: str) -> str:
    packages = {"chitchat": "chitchat-dataset", "chatterbot": "chatterbot-corpus"}
    if name not in packages:
        raise InputError(
            f"data.sources: 'bundled:{name}' does not exist; known are bundled:{', bundled:'.join(packages)}"
        )
    return packages[name]


def _bundled(name: str, source: int) -> Iterator[Conversation]:
    _package(name)
    yield from _chitchat(source) if name == "chitchat" else _chatterbot(source)


def _chitchat(source: int) -> Iterator[Conversation]:
    """Yield the human chats of chitchat-dataset; whoever speaks second is the one that is learned."""
    file = importlib.resources.files("chitchat_dataset") / "dataset.json"
    for key, chat in json.loads(file.read_text()).items():
        turns: list[Turn] = []
        for index, utterances in enumerate(chat["messages"]):
            text = " ".join(u["text"].strip() for u in utterances)
            turns.append(Turn("bot" if index % 2 else "user", text))
        yield Conversation(f"chitchat:{key[:8]}", source, tuple(turns), is_whole=True)


def _chatterbot(source: int) -> Iterator[Conversation]:
    """Yield the non-English part of chatterbot-corpus: real dirt for the language rule."""
    import yaml

    folder = importlib.resources.files("chatterbot_corpus") / "data"
    for language in sorted(folder.iterdir(), key=lambda f: f.name):
        if language.name == "english" or not language.is_dir():
            continue
        for file in sorted(language.iterdir(), key=lambda f: f.name):
            if not file.name.endswith(".yml"):
                continue
            content = yaml.load(
                file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            )
            for number, texts in enumerate(content["conversations"]):
                said = [texts] if isinstance(texts, str) else texts  # a few entries forgot their list
                turns = tuple(Turn("bot" if i % 2 else "user", str(text)) for i, text in enumerate(said))
                yield Conversation(f"{language.name}/{file.name}:{number}", source, turns, is_whole=True)
