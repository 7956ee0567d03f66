"""Read conversations from files, file systems, the Hub, and the packages that carry the bundled dialogues."""

import gzip
import hashlib
import importlib.metadata
import importlib.resources
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from train_fn.config import DataConfig
from train_fn.errors import InputError
from train_fn.formats import Conversation, RowError, Turn, conversation

_FORMAT_VERSION = "1"
"""Counts up when the same bytes are read in another way, so that prepared data is made anew."""
_CHUNK_BYTES = 1 << 22


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


def fingerprint(address: str, hub_split: str) -> str:
    """Return a hash that changes when the content of a source does.

    Local files are hashed whole; remote ones by what their file system says (size, time or ETag), the Hub by
    the dataset's commit, bundled dialogues by the version of their package.

    Raises:
        InputError: The source cannot be opened.
    """
    kind, _, name = address.partition(":")
    if kind == "bundled":
        identity = f"{name} {importlib.metadata.version(_package(name))}"
    elif kind == "hub":
        identity = f"{name} {hub_split} {_hub_commit(name)}"
    elif Path(address).is_file():
        with open(address, "rb") as file:
            identity = hashlib.file_digest(file, "blake2b").hexdigest()
    else:
        import fsspec

        with _explained(address):
            file_system, path = fsspec.core.url_to_fs(address)
            identity = str(file_system.ukey(path))
    return hashlib.blake2b(f"{_FORMAT_VERSION} {identity}".encode(), digest_size=16).hexdigest()


class _explained:
    """Turn what file systems raise into one line that names the source."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError | ImportError) and not isinstance(error, InputError):
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            fix = "name a file, an address that fsspec opens, hub:owner/name or bundled:chitchat"
            raise InputError(f"data.sources: {self.address!r} cannot be read ({first}); {fix}") from error


def _lines(address: str, source: int, config: DataConfig) -> Iterator[Row]:
    name = address.rsplit("/", 1)[-1]
    number = 0
    with _explained(address), _open(address) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{name}:{number}"
            try:
                yield conversation(json.loads(line), place, source)
            except (RowError, ValueError, RecursionError) as error:
                why = str(error) if isinstance(error, RowError) else f"is no JSON ({error})"
                yield _broken(f"{address}:{number}", why, config)
    if number == 0:
        raise InputError(f"data.sources: {address!r} is empty; name a file with one JSON object per line")


def _broken(place: str, why: str, config: DataConfig) -> Broken:
    if not config.skip_broken_lines:
        raise InputError(f"{place} {why}; mend it, or --set data.skip_broken_lines=true to count and skip such lines")
    return Broken(place, why)


def _open(address: str) -> IO[bytes]:
    if "://" in address or "::" in address:
        import fsspec

        opened: IO[bytes] = fsspec.open(address, "rb", compression="infer").open()
        return opened
    return gzip.open(address, "rb") if address.endswith(".gz") else open(address, "rb")


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
            yield _broken(f"hub:{place}", str(error), config)


def _hub_commit(name: str) -> str:
    """Return the commit of a Hub dataset; a folder of that name is what `datasets` reads first."""
    if Path(name).exists():
        return hashlib.blake2b("".join(sorted(map(str, Path(name).rglob("*")))).encode()).hexdigest()
    import huggingface_hub

    with _explained(f"hub:{name}"):
        return str(huggingface_hub.dataset_info(name).sha)


def _package(name: str) -> str:
    packages = {"chitchat": "chitchat-dataset", "chatterbot": "chatterbot-corpus"}
    if name not in packages:
        raise InputError(f"data.sources: 'bundled:{name}' does not exist; known are bundled:{', bundled:'.join(packages)}")
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
        yield Conversation(f"chitchat:{key[:8]}", source, tuple(turns))


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
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            for number, texts in enumerate(content["conversations"]):
                turns = tuple(Turn("bot" if i % 2 else "user", str(t)) for i, t in enumerate(texts))
                yield Conversation(f"{language.name}/{file.name}:{number}", source, turns)
